package cli

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/ops"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// checkAddresses tells at once which address cannot be had, before the storages are
// opened, which may have much to roll forward.
func checkAddresses(addresses []string) error {
	for _, a := range addresses {
		if err := listen.Check(a); err != nil {
			return withListenHint(err)
		}
	}
	return nil
}

// listenAll listens on all addresses, or on none.
func listenAll(addresses []string) (list []net.Listener, err error) {
	for _, a := range addresses {
		l, err := listen.Open(a)
		if err != nil {
			for _, l := range list {
				l.Close()
			}
			return nil, withListenHint(err)
		}
		list = append(list, l)
	}
	return list, nil
}

func withListenHint(err error) error {
	switch _, other := errors.AsType[*listen.NotSocketError](err); {
	case errors.Is(err, syscall.EADDRINUSE):
		return hint(err, "another server is running there: end it, or choose another --listen")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return hint(err, "no network interface here has that address: ip address lists them, and :PORT means all")
	case errors.Is(err, fs.ErrNotExist):
		return hint(err, "the directory of a Unix socket has to be there: make it first (mkdir -p), or choose another --listen")
	case other:
		return hint(err, "choose another --listen, or move it away")
	}
	return err
}

// warnOpen warns of an address that others can reach and that nothing protects.
func (s *serving) warnOpen(l net.Listener) {
	s.log.Info("listening", "address", l.Addr().String(), "tls", s.certs != nil && l.Addr().Network() == "tcp")
	if ops.Reachable(l.Addr()) && s.certs == nil {
		s.log.Warn("listening on an address that other machines can reach, without TLS: every machine that reaches it can read and write everything; "+
			"set tls-certificate and tls-authenticate, or see to it that a firewall or a private network is in front", "address", l.Addr().String())
	}
}

// inContainer reports whether this looks like the inside of a container.
func inContainer(getenv func(string) string) bool {
	for _, file := range []string{"/.dockerenv", "/run/.containerenv"} {
		dir, name, err := vfs.Split(file)
		if err != nil {
			continue
		}
		if _, err := dir.Stat(name); err == nil {
			return true
		}
	}
	return getenv("container") != "" || getenv("KUBERNETES_SERVICE_HOST") != ""
}

// hostName is the name of this machine, or words for it.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "its name is not known here"
	}
	return name
}

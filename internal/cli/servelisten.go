package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
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
			return withListenHint(err, a, "--listen")
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
			return nil, withListenHint(err, a, "--listen")
		}
		list = append(list, l)
	}
	return list, nil
}

// withListenHint adds advice to the error of an address, which flag gave.
func withListenHint(err error, address, flag string) error {
	switch _, other := errors.AsType[*listen.NotSocketError](err); {
	case errors.Is(err, syscall.EADDRINUSE):
		return hint(err, "%s, or choose another %s", addressTaken(address), flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return hint(err, "no network interface here has that address: ip address lists them, and :PORT means all")
	case errors.Is(err, fs.ErrNotExist):
		return hint(err, "the directory of a Unix socket has to be there: make it first (mkdir -p), or choose another %s", flag)
	case other:
		return hint(err, "choose another %s, or move it away", flag)
	}
	return err
}

// addressTaken says which process listens at an address, with its HOMEs if it is one of this program, and how to
// end it.
func addressTaken(address string) string {
	pid, ok := listen.Holder(address)
	switch {
	case ok:
	case strings.Contains(address, "/"):
		return "another server is running there: end it (as root, ss -lxp or lsof -U tells its process)"
	default:
		port := address[strings.LastIndexByte(address, ':')+1:]
		return "another server is running there: end it (as root, ss -ltnp sport = :" + port + " or lsof -i TCP:" + port + " tells its process)"
	}
	if homes := homesOf(pid); len(homes) > 0 {
		return fmt.Sprintf("process %d serves %s there: end it (kill %d)", pid, strings.Join(homes, " and "), pid)
	}
	name := "a program"
	if b, err := vfs.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
		name = printable([]byte(strings.TrimSpace(string(b))))
	}
	return fmt.Sprintf("process %d (%s) is running there: end it", pid, name)
}

// homesOf returns the HOMEs that a process has open for writing, in order.
func homesOf(pid int) (homes []string) {
	names, err := vfs.OpenedBy(pid)
	if err != nil {
		return nil
	}
	for _, name := range names {
		if home, ok := strings.CutSuffix(name, "/misc/lock"); ok {
			homes = append(homes, shellWord(home))
		}
	}
	slices.Sort(homes)
	return slices.Compact(homes)
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

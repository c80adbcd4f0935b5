package cli

import (
	"net"
	"time"

	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/logging"
)

// reread is the result of reading the files again.
type reread struct {
	conf *config.Config
	err  error
}

// reloadPatience is the time after which the log says that a reload has not ended.
const reloadPatience = 5 * time.Second

// readAgain reads the settings and the certificates, which are in force at once, unless one of them
// cannot be used.
func (s *serving) readAgain() (r reread) {
	if r.conf, r.err = s.load(); r.err == nil {
		_, r.err = logging.ParseLevel(r.conf.LogLevel)
	}
	if r.err == nil && s.certs != nil {
		r.err = s.certs.Reload()
	}
	return r
}

// reload takes the log level, and ends the connections of clients that were revoked. Files that
// cannot be read change nothing.
func (s *serving) reload(r reread, listeners []net.Listener) {
	conf, err := r.conf, r.err
	if err == nil {
		err = s.setLevel(conf.LogLevel)
	}
	if err != nil {
		s.log.Error("reload failed; everything stays as it was", "err", err)
	} else {
		s.log.Info("reloaded", "level", conf.LogLevel, "tls", s.certs != nil)
		if !conf.TLS.Same(s.conf.TLS) {
			s.log.Warn("settings of TLS have changed: those from the start are in force; restart the server for tls-revoked and the others")
		}
		s.endRevoked()
		s.logCertificates()
	}
	s.notify.Ready(s.statusLine(listeners))
}

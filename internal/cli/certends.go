package cli

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/dirstorage/dirstorage/internal/certs"
)

// certificatesEvery is how often the server looks whether a certificate ends.
const certificatesEvery = 24 * time.Hour

// certificateEnds is for the metrics; nil without TLS.
func (s *serving) certificateEnds() func() []certs.End {
	if s.certs == nil {
		return nil
	}
	return s.certs.Ends
}

// logCertificates logs the certificates and revocation lists that have ended, or end soon, and else
// the first one to end.
func (s *serving) logCertificates() {
	if s.certs != nil {
		logEnds(s.log, s.certs.Ends(), s.e.Now())
	}
}

func logEnds(log *slog.Logger, ends []certs.End, now time.Time) {
	near := false
	for _, e := range ends {
		at := e.At.UTC().Format(time.RFC3339)
		switch {
		case !now.Before(e.At):
			if e.Use == certs.UseRevocation {
				log.Error("revocation list has ended: all clients of its authority are refused; renew it, and reload", "use", e.Use, "name", e.Name, "end", at)
				break
			}
			log.Error("certificate has ended; renew it, and reload", "use", e.Use, "name", e.Name, "end", at)
		case !now.Before(e.Soon):
			log.Warn("certificate ends soon; renew it, and reload", "use", e.Use, "name", e.Name, "end", at, "days", daysUntil(e.At, now))
		default:
			continue
		}
		near = true
	}
	if len(ends) > 0 && !near {
		e := ends[0]
		log.Info("certificates", "first_use", e.Use, "first_name", e.Name, "first_end", e.At.UTC().Format(time.RFC3339))
	}
}

// logRevoked logs a client that was refused, of either listener.
func (s *serving) logRevoked(client net.Addr, e *certs.RevokedError) {
	s.log.Warn("client refused: its certificate is revoked", "client", client.String(), "name", e.Name, "serial", fmt.Sprintf("%x", e.Serial))
}

// endRevoked ends the connections of clients, and of people at the pages, whose certificates are revoked
// now.
func (s *serving) endRevoked() {
	if server := s.server.Load(); server != nil && s.certs != nil {
		server.EndRevoked(s.certs.Revoked)
	}
	if s.health != nil && s.certs != nil {
		s.health.EndRevoked(s.certs.Revoked)
	}
}

// daysUntil are whole days, rounded down.
func daysUntil(at, now time.Time) int {
	d := at.Sub(now)
	days := int(d / (24 * time.Hour))
	if d < 0 && d%(24*time.Hour) != 0 {
		days--
	}
	return days
}

package certs

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Uses of the certificates and lists of a server.
const (
	UseServer     = "server"          // its own certificate, or one between it and its authority
	useTrusted    = "trusted"         // in tls-authenticate
	UseRevocation = "revocation list" // in tls-revoked, or in tls-authenticate
)

// warned is the time before an end in which it is near, if the whole time is long.
const warned = 30 * 24 * time.Hour

// End is the end of a certificate or of a revocation list.
type End struct {
	Use  string // one of the constants above
	Name string // of the subject, or of the issuer of a list
	At   time.Time
	Soon time.Time // from here on it is near: 30 days before, or a third of the whole time
}

func newEnd(use, name string, from, at time.Time) End {
	return End{use, name, at, at.Add(-min(warned, at.Sub(from)/3))}
}

// Ends are those of the certificates and lists in force, the first one first. Of several with the
// same use and name it is the earliest. It may be called at any time.
func (s *Server) Ends() []End {
	if p := s.ends.Load(); p != nil {
		return slices.Clone(*p)
	}
	return nil
}

// endsOf collects them from the files of a server.
func endsOf(chain [][]byte, t *trust) ([]End, error) {
	var all []End
	of := func(use string, c *x509.Certificate) {
		all = append(all, newEnd(use, strings.Join(NamesOf(c)[:min(1, len(NamesOf(c)))], ""), c.NotBefore, c.NotAfter))
	}
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		of(UseServer, c)
	}
	for _, c := range t.certificates {
		of(useTrusted, c)
	}
	for _, l := range t.lists {
		if !l.list.NextUpdate.IsZero() {
			all = append(all, newEnd(UseRevocation, l.list.Issuer.CommonName, l.list.ThisUpdate, l.list.NextUpdate))
		}
	}
	slices.SortStableFunc(all, func(a, b End) int { return a.At.Compare(b.At) })
	type key struct{ use, name string }
	seen := make(map[key]bool)
	return slices.DeleteFunc(all, func(e End) bool {
		k := key{e.Use, e.Name}
		defer func() { seen[k] = true }()
		return seen[k]
	}), nil
}

// Found is a certificate or a revocation list in a file.
type Found struct {
	Path        string
	Certificate *x509.Certificate    // nil: it is a list
	List        *x509.RevocationList // nil: it is a certificate
}

// End is the time at which it ends; zero: never.
func (f Found) End() time.Time {
	if f.List != nil {
		return f.List.NextUpdate
	}
	return f.Certificate.NotAfter
}

// FindAny is Find for certificates of a directory that may have none.
func FindAny(name string) ([]Found, error) {
	found, err := find(name)
	return slices.DeleteFunc(found, func(f Found) bool { return f.Certificate == nil }), err
}

// ErrNoCertificate is returned for files and directories without certificates.
var ErrNoCertificate = errors.New("no certificate is in it")

// Find reads the certificates and revocation lists of a file, or of the files of a directory, by
// their names. Files with other contents, and those named *.key or, half written, *.new are passed over.
// Errors: ErrNoCertificate if there are none.
func Find(name string) ([]Found, error) {
	found, err := find(name)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s: %w; want PEM, -----BEGIN CERTIFICATE-----", filepath.Clean(name), ErrNoCertificate)
	}
	return found, err
}

func find(name string) ([]Found, error) {
	var found []Found
	err := eachFile(name, func(path string) bool { return filepath.Ext(path) != ".key" && filepath.Ext(path) != ".new" }, func(path string, text []byte) error {
		certificates, lists, err := parse(path, text)
		if err != nil {
			return err
		}
		for _, c := range certificates {
			found = append(found, Found{Path: path, Certificate: c})
		}
		for _, l := range lists {
			found = append(found, Found{Path: path, List: l})
		}
		return nil
	})
	slices.SortStableFunc(found, func(a, b Found) int { return cmp.Compare(a.Path, b.Path) })
	return found, err
}

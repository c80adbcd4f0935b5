package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// trust holds the certificates of clients that may connect.
type trust struct {
	certificates []*x509.Certificate
	lists        []*revocations   // each was signed by somebody we trust, or by somebody between
	now          func() time.Time // nil: lists do not run out
}

// Trusted reads the certificates of a PEM file, or of all files of a directory.
func Trusted(name string) (*x509.CertPool, error) {
	t, err := readTrust(name)
	if err != nil {
		return nil, err
	}
	return t.pool(), nil
}

// readTrust reads certificates and revocation lists of a file, or of all files of
// a directory, in which other contents are passed over, as OpenSSL does.
func readTrust(name string) (*trust, error) {
	t := &trust{}
	if err := eachFile(name, isWhole, t.add); err != nil {
		return nil, err
	}
	if len(t.certificates) == 0 {
		return nil, fmt.Errorf("%s: no certificate is in it; want PEM, -----BEGIN CERTIFICATE-----", name)
	}
	return t, t.checkLists(name)
}

// eachFile calls f with the text of a file, or of those files of a directory that are wanted.
func eachFile(name string, wanted func(path string) bool, f func(path string, text []byte) error) error {
	dir, err := vfs.OS(name) // follows symbolic links
	if err != nil {
		return err
	}
	info, err := dir.Stat(".")
	if err != nil {
		return err
	}
	if !info.IsDir() {
		b, err := vfs.ReadFile(name)
		if err != nil {
			return err
		}
		return f(name, b)
	}
	for entry, err := range dir.List(".") {
		if err != nil {
			return err
		}
		path := filepath.Join(name, entry.Name)
		if !wanted(path) {
			continue
		}
		b, err := dir.ReadFile(entry.Name)
		if errors.Is(err, syscall.EISDIR) || errors.Is(err, fs.ErrNotExist) {
			continue // a directory, or a link that leads nowhere
		}
		if err != nil {
			return err // it may be the list that revokes somebody
		}
		if err := f(path, b); err != nil {
			return err
		}
	}
	return nil
}

// isWhole reports whether the name of a file in a directory is not that of one that is being written: such
// as *.new, or one with a point before it.
func isWhole(path string) bool {
	base := filepath.Base(path)
	return filepath.Ext(base) != ".new" && !strings.HasPrefix(base, ".")
}

// begun counts the blocks that add takes, by their first lines, also where something before one on its line, such as a
// byte order mark, hides it from the parser.
func begun(text []byte) (n int) {
	for _, name := range []string{"CERTIFICATE", "X509 CERTIFICATE", "CRL", "X509 CRL"} {
		n += bytes.Count(text, []byte("-----BEGIN "+name+"-----"))
	}
	return n
}

// add takes the blocks of a PEM file.
func (t *trust) add(name string, text []byte) error {
	certificates, lists, err := parse(name, text)
	if err != nil {
		return err
	}
	t.certificates = append(t.certificates, certificates...)
	for _, l := range lists {
		t.lists = append(t.lists, newRevocations(l))
	}
	return nil
}

// parse reads the blocks of a PEM file. pem.Decode passes over a block that was cut off or
// changed; a revocation list must not get lost like that.
func parse(name string, text []byte) (certificates []*x509.Certificate, lists []*x509.RevocationList, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE", "X509 CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: certificate: %w", name, err)
			}
			certificates = append(certificates, c)
		case "X509 CRL":
			l, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: revocation list: %w", name, err)
			}
			lists = append(lists, l)
		}
	}
	whole, all := len(certificates)+len(lists), begun(text)
	if whole < all {
		return nil, nil, fmt.Errorf("%s: %d of %s can't be read as PEM: one was cut off or changed", name, all-whole, human.Plural(int64(all), "certificate or revocation list", "certificates and revocation lists"))
	}
	return certificates, lists, nil
}

// checkLists refuses a list that says it is by somebody we trust, and is not.
// Lists by others stay: they may be by an authority whose certificate the client brings.
func (t *trust) checkLists(name string) error {
	for _, l := range t.lists {
		var failed error
		for _, c := range t.certificates {
			if !bytes.Equal(c.RawSubject, l.list.RawIssuer) {
				continue
			}
			if failed = l.by(c); failed == nil {
				break
			}
		}
		if failed != nil {
			return fmt.Errorf("%s: the revocation list of %s is not signed by it: %w", name, l.list.Issuer, failed)
		}
	}
	return nil
}

func (t *trust) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range t.certificates {
		pool.AddCert(c)
	}
	return pool
}

// verify is called when crypto/tls has found chains from the client's certificate
// to one that is trusted. One of them has to be free of revoked certificates.
func (t *trust) verify(s tls.ConnectionState) error {
	if len(t.lists) == 0 {
		return nil
	}
	err := errors.New("the client showed no certificate that is trusted")
	var revoked *RevokedError
	for _, chain := range s.VerifiedChains {
		if err = t.verifyChain(chain); err == nil {
			return nil
		}
		if r, ok := errors.AsType[*RevokedError](err); ok {
			revoked = r
		}
	}
	if revoked != nil { // whatever is missing for other chains
		return revoked
	}
	return err
}

// verifyChain looks for all revoked certificates before it says that a list is missing.
func (t *trust) verifyChain(chain []*x509.Certificate) error {
	missing := false
	for i, c := range chain {
		issuers := t.certificates
		if i+1 < len(chain) {
			issuers = chain[i+1 : i+2]
		}
		listed, current := t.listed(c, issuers)
		if listed {
			return &RevokedError{Name: Subject(c), Serial: c.SerialNumber}
		}
		// One that is trusted by itself needs no list.
		missing = missing || i == 0 && len(chain) > 1 && !current
	}
	if missing {
		return fmt.Errorf("there is no revocation list of %s that has not run out", chain[0].Issuer)
	}
	return nil
}

// listed looks a certificate up in the lists of its issuer. current tells whether one of
// them has not run out.
func (t *trust) listed(c *x509.Certificate, issuers []*x509.Certificate) (listed, current bool) {
	for _, l := range t.lists {
		if !bytes.Equal(l.list.RawIssuer, c.RawIssuer) || !l.byOne(issuers) {
			continue
		}
		if t.now == nil || l.list.NextUpdate.IsZero() || t.now().Before(l.list.NextUpdate) {
			current = true
		}
		listed = listed || l.has(c.SerialNumber)
	}
	return listed, current
}

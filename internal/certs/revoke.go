package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// RevokedError says that a client has shown a certificate that a revocation list names.
type RevokedError struct {
	Name   string // of its subject
	Serial *big.Int
}

// Error implements error.
func (e *RevokedError) Error() string {
	return fmt.Sprintf("the certificate %s, serial %x, is revoked", e.Name, e.Serial)
}

// takenBack is the reason of an entry that takes one of an earlier list back.
const takenBack = 8

// entryOf returns the entry of a list for a serial number; nil if there is none.
func entryOf(l *x509.RevocationList, serial *big.Int) *x509.RevocationListEntry {
	for i, e := range l.RevokedCertificateEntries {
		if e.ReasonCode != takenBack && e.SerialNumber.Cmp(serial) == 0 {
			return &l.RevokedCertificateEntries[i]
		}
	}
	return nil
}

// revocations are a revocation list as it is asked at each connection: by serial number, and without
// another look at the signature, which covers all of a list that may be large.
type revocations struct {
	list    *x509.RevocationList // without its entries
	serials map[string]struct{}  // the bytes of the numbers

	mu     sync.Mutex
	signed map[[sha256.Size]byte]error // guarded by mu: by the certificate of the issuer
}

func newRevocations(l *x509.RevocationList) *revocations {
	r := &revocations{list: l, serials: make(map[string]struct{}, len(l.RevokedCertificateEntries)), signed: make(map[[sha256.Size]byte]error)}
	for _, e := range l.RevokedCertificateEntries {
		if e.ReasonCode != takenBack {
			r.serials[string(e.SerialNumber.Bytes())] = struct{}{}
		}
	}
	//lint:ignore SA1019 the parser fills it, too
	l.RevokedCertificateEntries, l.RevokedCertificates = nil, nil
	return r
}

func (r *revocations) has(serial *big.Int) bool {
	_, ok := r.serials[string(serial.Bytes())]
	return ok
}

// mostIssuers is how many certificates with the name of the issuer are remembered. A client could bring
// many.
const mostIssuers = 100

// by returns an error if the list is not signed with the key of a certificate.
func (r *revocations) by(c *x509.Certificate) error {
	sum := sha256.Sum256(c.Raw)
	r.mu.Lock()
	defer r.mu.Unlock()
	err, known := r.signed[sum]
	if !known {
		err = r.list.CheckSignatureFrom(c)
		if len(r.signed) < mostIssuers {
			r.signed[sum] = err
		}
	}
	return err
}

func (r *revocations) byOne(issuers []*x509.Certificate) bool {
	for _, c := range issuers {
		if bytes.Equal(c.RawSubject, r.list.RawIssuer) && r.by(c) == nil {
			return true
		}
	}
	return false
}

// RevokedAt returns the time from which on a list revokes a certificate of the same issuer; false if
// it does not. The signature of the list is not looked at.
func RevokedAt(l *x509.RevocationList, c *x509.Certificate) (time.Time, bool) {
	if !bytes.Equal(l.RawIssuer, c.RawIssuer) {
		return time.Time{}, false
	}
	e := entryOf(l, c.SerialNumber)
	if e == nil {
		return time.Time{}, false
	}
	return e.RevocationTime, true
}

// Revoke makes a revocation list: that of before (nil: there was none) with more serial numbers. It
// ends no later than the authority.
func (a *Authority) Revoke(before *x509.RevocationList, serials []*big.Int, from, end time.Time) (*x509.RevocationList, error) {
	if from.After(a.Certificate.NotAfter) {
		return nil, fmt.Errorf("the authority %s ended at %s", a.Certificate.Subject, a.Certificate.NotAfter.Format(time.RFC3339))
	}
	if end.After(a.Certificate.NotAfter) {
		end = a.Certificate.NotAfter
	}
	// Numbers grow, also after a list that was lost.
	template := &x509.RevocationList{Number: big.NewInt(from.Unix()), ThisUpdate: from.UTC().Truncate(time.Second), NextUpdate: end.UTC().Truncate(time.Second)}
	if before != nil {
		if err := before.CheckSignatureFrom(a.Certificate); err != nil {
			return nil, fmt.Errorf("the revocation list of %s is not by the authority: %w", before.Issuer, err)
		}
		template.RevokedCertificateEntries = before.RevokedCertificateEntries
		if before.Number != nil && before.Number.Cmp(template.Number) >= 0 {
			template.Number = new(big.Int).Add(before.Number, big.NewInt(1))
		}
	}
	for _, serial := range serials {
		if entryOf(template, serial) == nil {
			template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: from.UTC().Truncate(time.Second)})
		}
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseRevocationList(der)
}

// ListPEM is a revocation list as PEM.
func ListPEM(l *x509.RevocationList) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: l.Raw})
}

// addRevoked reads the revocation lists of a file, or of all files of a directory.
func (t *trust) addRevoked(name string) error {
	lists := &trust{}
	if err := eachFile(name, isWhole, lists.add); err != nil {
		return err
	}
	if len(lists.lists) == 0 {
		return fmt.Errorf("%s: no revocation list is in it; want PEM, -----BEGIN X509 CRL-----", name)
	}
	lists.certificates = t.certificates
	if err := lists.checkLists(name); err != nil {
		return err
	}
	t.lists = append(t.lists, lists.lists...)
	return nil
}

// Revoked returns a *RevokedError if a list in force now revokes a certificate in each chain of a
// connection that was let in earlier.
func (s *Server) Revoked(cs tls.ConnectionState) error {
	t := s.trusted.Load()
	if t == nil || len(cs.VerifiedChains) == 0 {
		return nil
	}
	if revoked, ok := errors.AsType[*RevokedError](t.verify(cs)); ok {
		return revoked
	}
	return nil
}

// Subject is the name of a certificate for people: the first one of NamesOf, or the whole subject.
func Subject(c *x509.Certificate) string {
	if names := NamesOf(c); len(names) > 0 {
		return names[0]
	}
	return strings.TrimSpace(c.Subject.String())
}

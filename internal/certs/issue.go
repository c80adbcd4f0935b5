package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Kind is the use of a certificate.
type Kind string

// The kinds of certificates.
const (
	OfAuthority Kind = "authority"
	OfServer    Kind = "server"
	OfClient    Kind = "client"
	OfOthers    Kind = "other"
)

// clockSkew is how far the clock of a peer may be behind that of the issuer.
const clockSkew = time.Hour

// commonName is the greatest length of a common name.
const commonName = 64

// NewKey makes a private key.
func NewKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// KeyPEM is a private key as PKCS#8, not encrypted.
func KeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// CertificatePEM is a certificate as PEM.
func CertificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// Request describes a certificate that is to be issued.
type Request struct {
	Kind  Kind
	Names []string // of a server: names and IP addresses; else one name
	From  time.Time
	End   time.Time
}

// template makes the description for crypto/x509.
func (r Request) template() (*x509.Certificate, error) {
	if len(r.Names) == 0 || r.Names[0] == "" {
		return nil, errors.New("a certificate needs a name")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	serial.SetBit(serial, 126, 1) // it is never zero, and always as long
	c := &x509.Certificate{
		SerialNumber: serial, BasicConstraintsValid: true,
		NotBefore: r.From.Add(-clockSkew).UTC().Truncate(time.Second), NotAfter: r.End.UTC().Truncate(time.Second),
	}
	if len(r.Names[0]) <= commonName {
		c.Subject = pkix.Name{CommonName: r.Names[0]}
	} else if r.Kind != OfServer {
		return nil, fmt.Errorf("the name %q is longer than %d bytes", r.Names[0], commonName)
	}
	switch r.Kind {
	case OfAuthority:
		c.IsCA, c.MaxPathLenZero = true, true
		c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	case OfServer:
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, name := range r.Names {
			if ip := net.ParseIP(name); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, name)
			}
		}
	case OfClient:
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	default:
		return nil, fmt.Errorf("%q is not a kind of certificate that can be issued", r.Kind)
	}
	return c, nil
}

// NewAuthority makes the certificate of an authority, which its key signs.
func NewAuthority(key crypto.Signer, r Request) (*x509.Certificate, error) {
	r.Kind = OfAuthority
	template, err := r.template()
	if err != nil {
		return nil, err
	}
	return signed(template, template, key.Public(), key)
}

// Authority is the certificate of an authority with its key. It issues certificates.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// ReadAuthority reads an authority from two files.
func ReadAuthority(certificate, key string) (*Authority, error) {
	pair, err := KeyPair(certificate, key, "")
	if err != nil {
		return nil, err
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s: it is not the certificate of an authority", certificate)
	}
	return &Authority{pair.Leaf, signer}, nil
}

// Issue makes a certificate for the owner of a key. It ends no later than the authority.
func (a *Authority) Issue(public crypto.PublicKey, r Request) (*x509.Certificate, error) {
	if r.Kind == OfAuthority {
		return nil, errors.New("an authority issues certificates of servers and clients only")
	}
	if r.From.After(a.Certificate.NotAfter) {
		return nil, fmt.Errorf("the authority %s ended at %s", a.Certificate.Subject, a.Certificate.NotAfter.Format(time.RFC3339))
	}
	if r.End.After(a.Certificate.NotAfter) {
		r.End = a.Certificate.NotAfter
	}
	template, err := r.template()
	if err != nil {
		return nil, err
	}
	return signed(template, a.Certificate, public, a.key)
}

// Renew makes the certificate of the authority anew, for the same key and name. Certificates that it
// has issued stay good.
func (a *Authority) Renew(from, end time.Time) (*x509.Certificate, error) {
	template, err := Request{Kind: OfAuthority, Names: []string{"any"}, From: from, End: end}.template()
	if err != nil {
		return nil, err
	}
	old := a.Certificate
	template.RawSubject, template.SubjectKeyId, template.MaxPathLen, template.MaxPathLenZero = old.RawSubject, old.SubjectKeyId, old.MaxPathLen, old.MaxPathLenZero
	return signed(template, template, a.key.Public(), a.key)
}

func signed(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// KindOf is the use of a certificate.
func KindOf(c *x509.Certificate) Kind {
	if c.IsCA {
		return OfAuthority
	}
	for _, use := range c.ExtKeyUsage {
		switch use {
		case x509.ExtKeyUsageServerAuth:
			return OfServer
		case x509.ExtKeyUsageClientAuth:
			return OfClient
		}
	}
	return OfOthers
}

// NamesOf are the names of a certificate, the common name first.
func NamesOf(c *x509.Certificate) []string {
	var names []string
	if c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	add := func(name string) {
		if len(names) == 0 || name != names[0] {
			names = append(names, name)
		}
	}
	for _, name := range c.DNSNames {
		add(name)
	}
	for _, ip := range c.IPAddresses {
		add(ip.String())
	}
	return names
}

package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// party is a certificate with its key.
type party struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var (
	today    = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	tomorrow = today.Add(24 * time.Hour)
)

// issue makes a certificate that issuer signs, or itself if that is nil.
func issue(t testing.TB, name string, serial int64, ca bool, issuer *party) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: today.Add(-time.Hour), NotAfter: today.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		template.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	p := &party{key: key}
	signer := &party{template, key}
	if issuer != nil {
		signer = issuer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *party) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw}))
}

func (p *party) keyBlock(t testing.TB) *pem.Block {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
}

// both is the certificate and the key in one file.
func (p *party) both(t testing.TB) string {
	return p.pem() + string(pem.EncodeToMemory(p.keyBlock(t)))
}

func (p *party) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key}
}

// list is a revocation list that p signs, with the serials.
func (p *party) list(t testing.TB, end time.Time, serials ...int64) string {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: today.Add(-time.Hour), NextUpdate: end}
	for _, s := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: today})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, p.cert, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// listen serves TLS connections, each of which gets "hello".
func listen(t testing.TB, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	conf := s.Config()
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
				_, _ = io.WriteString(tls.Server(c, conf), "hello")
			})
		}
	})
	return l.Addr().String()
}

// connect returns an error unless the server says hello.
func connect(addr string, conf *tls.Config) error {
	c, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		return err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err == nil && string(b) != "hello" {
		err = errors.New("no hello")
	}
	return err
}

func client(p *party) *tls.Config {
	conf := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	if p != nil {
		// Also one that the server's list of authorities does not ask for is sent.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair := p.tls()
			return &pair, nil
		}
	}
	return conf
}

func clock() time.Time { return today }

// setup writes the files of a server that trusts the certificates in trust.
func setup(t testing.TB, trust string) (*Server, Files) {
	t.Helper()
	dir := t.TempDir()
	f := Files{
		Certificate:  write(t, filepath.Join(dir, "server.pem"), issue(t, "server", 1, false, nil).both(t)),
		Authenticate: write(t, filepath.Join(dir, "trust.pem"), trust), Clock: clock,
	}
	s, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return s, f
}

func TestOnlyTrustedClientsConnect(t *testing.T) {
	t.Parallel()
	ca, other, alone := issue(t, "ca", 1, true, nil), issue(t, "ca", 1, true, nil), issue(t, "alone", 2, false, nil)
	good, bad, revoked := issue(t, "good", 10, false, ca), issue(t, "bad", 10, false, other), issue(t, "revoked", 11, false, ca)
	forged := issue(t, "forged", 12, false, &party{alone.cert, alone.key})
	for _, tc := range []struct {
		name, trust string
		client      *party
		ok          bool
	}{
		{"signed by the authority", ca.pem(), good, true},
		{"trusted by itself", alone.pem(), alone, true},
		{"second of several", ca.pem() + alone.pem(), alone, true},
		{"no certificate", ca.pem(), nil, false},
		{"other authority of that name", ca.pem(), bad, false},
		{"not the one that is trusted", alone.pem(), good, false},
		{"signed by one that is no authority", alone.pem(), forged, false},
		{"revoked", ca.pem() + ca.list(t, tomorrow, 11), revoked, false},
		{"another is revoked", ca.pem() + ca.list(t, tomorrow, 11), good, true},
		{"the list has run out", ca.pem() + ca.list(t, today.Add(-time.Minute), 11), good, false},
		{"revoked by a list that has run out", ca.pem() + ca.list(t, today.Add(-time.Minute), 11), revoked, false},
		{"no list of the authority", ca.pem() + alone.pem() + issue(t, "third", 1, true, nil).list(t, tomorrow), good, false},
		{"trusted by itself needs no list", ca.pem() + alone.pem() + ca.list(t, tomorrow, 11), alone, true},
		{"revoked and trusted by itself", ca.pem() + revoked.pem() + ca.list(t, tomorrow, 11), revoked, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, _ := setup(t, tc.trust)
			if err := connect(listen(t, s), client(tc.client)); (err == nil) != tc.ok {
				t.Errorf("connected: %v", err)
			}
		})
	}
}

func TestOldVersionsOfTLSAreRefused(t *testing.T) {
	t.Parallel()
	alone := issue(t, "alone", 2, false, nil)
	s, _ := setup(t, alone.pem())
	addr, conf := listen(t, s), client(alone)
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if err := connect(addr, conf); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	conf.MinVersion, conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if err := connect(addr, conf); err != nil {
		t.Error(err)
	}
}

func TestClientsAndServersWithoutTLSDoNoHarm(t *testing.T) {
	t.Parallel()
	alone := issue(t, "alone", 2, false, nil)
	s, _ := setup(t, alone.pem())
	addr := listen(t, s)
	for _, text := range []string{"\x00\x00\x00\x02Z5", "\x16\x03\x01\xff\xff", "GET / HTTP/1.0\r\n\r\n", ""} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		if text == "" || text[0] == 0x16 {
			_ = c.(*net.TCPConn).SetLinger(0) // it is reset
		} else if b, _ := io.ReadAll(c); strings.Contains(string(b), "hello") {
			t.Errorf("%q was answered", text)
		}
		c.Close()
	}
	if err := connect(addr, client(alone)); err != nil {
		t.Error(err)
	}
}

func TestReloadIsInForceForNewConnections(t *testing.T) {
	t.Parallel()
	ca, alone := issue(t, "ca", 1, true, nil), issue(t, "alone", 2, false, nil)
	signed := issue(t, "signed", 10, false, ca)
	s, f := setup(t, ca.pem())
	addr, asSigned, asAlone := listen(t, s), client(signed), client(alone)
	check := func(step string, conf *tls.Config, ok bool) {
		t.Helper()
		if err := connect(addr, conf); (err == nil) != ok {
			t.Errorf("%s: %v", step, err)
		}
	}
	check("before", asSigned, true)
	check("before", asAlone, false)

	write(t, f.Authenticate, alone.pem())
	check("not yet reloaded", asAlone, false)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	check("reloaded", asAlone, true)
	check("reloaded, with a session of before", asSigned, false)

	// A broken file leaves things as they are, those that were good included.
	write(t, f.Authenticate, ca.pem())
	write(t, f.Certificate, "broken")
	if err := s.Reload(); err == nil {
		t.Error("a broken file is loaded")
	}
	check("after the error", asAlone, true)
	check("after the error", asSigned, false)

	renewed := issue(t, "renewed", 5, false, nil)
	write(t, f.Certificate, renewed.both(t))
	write(t, f.Authenticate, ca.pem()+ca.list(t, tomorrow, 10))
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	check("revoked later", asSigned, false)
	write(t, f.Authenticate, ca.pem())
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	asSigned.VerifyConnection = func(cs tls.ConnectionState) error {
		if cn := cs.PeerCertificates[0].Subject.CommonName; cn != "renewed" {
			return errors.New(cn)
		}
		return nil
	}
	check("with the new certificate", asSigned, true)
}

func TestReloadWhileClientsConnect(t *testing.T) {
	t.Parallel()
	alone := issue(t, "alone", 2, false, nil)
	s, _ := setup(t, alone.pem())
	addr := listen(t, s)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				if err := s.Reload(); err != nil {
					t.Error(err)
				}
				if err := connect(addr, client(alone)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestADirectoryIsTrusted(t *testing.T) {
	t.Parallel()
	ca, alone := issue(t, "ca", 1, true, nil), issue(t, "alone", 2, false, nil)
	revoked := issue(t, "revoked", 11, false, ca)
	_, f := setup(t, ca.pem())
	f.Authenticate = t.TempDir()
	in := func(name string) string { return filepath.Join(f.Authenticate, name) }
	if _, err := Load(f); err == nil || !strings.Contains(err.Error(), "no certificate is in it") {
		t.Errorf("an empty directory: %v", err)
	}
	write(t, in("README"), "what this is")
	write(t, in("0123abcd.0"), ca.pem())
	write(t, in("4567abcd.0"), alone.pem())
	write(t, in("0123abcd.r0"), ca.list(t, tomorrow, 11))
	if err := errors.Join(os.Mkdir(in("old"), 0o700), os.Symlink("nothing", in("dangling"))); err != nil {
		t.Fatal(err)
	}
	s, err := Load(f)
	if err != nil {
		t.Fatal(err)
	}
	addr := listen(t, s)
	if err := connect(addr, client(alone)); err != nil {
		t.Error(err)
	}
	if err := connect(addr, client(issue(t, "good", 12, false, ca))); err != nil {
		t.Error(err)
	}
	if err := connect(addr, client(revoked)); err == nil {
		t.Error("a revoked certificate is accepted")
	}
}

func TestADirectoryIsFoundByEachOfItsNames(t *testing.T) {
	t.Parallel()
	ca := issue(t, "ca", 1, true, nil)
	_, f := setup(t, ca.pem())
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := errors.Join(os.Mkdir(real, 0o700), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(real, "ca.pem"), ca.pem())
	for _, name := range []string{real, real + "/", link, link + "/"} {
		f.Authenticate = name
		if _, err := Load(f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An unreadable file may be the list that revokes somebody. A link to itself stands in
// for a file without permission, which is none for root.
func TestAFileThatCannotBeReadIsNotPassedOver(t *testing.T) {
	t.Parallel()
	ca := issue(t, "ca", 1, true, nil)
	_, f := setup(t, ca.pem())
	f.Authenticate = t.TempDir()
	write(t, filepath.Join(f.Authenticate, "ca.pem"), ca.pem())
	if err := os.Symlink("ca.r0", filepath.Join(f.Authenticate, "ca.r0")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(f); err == nil || !strings.Contains(err.Error(), "ca.r0") {
		t.Errorf("got %v, want an error about ca.r0", err)
	}
}

// ZEO's own tests have certificates like this: RSA, SHA-1, no alternative names.
func TestSelfSignedWithSHA1IsItsOwnAnchor(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "zodb.org"}, NotBefore: today.Add(-time.Hour), NotAfter: tomorrow, SignatureAlgorithm: x509.SHA1WithRSA}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := setup(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	conf := client(nil)
	conf.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	if err := connect(listen(t, s), conf); err != nil {
		t.Error(err)
	}
}

func TestKeysAreRead(t *testing.T) {
	t.Parallel()
	p := issue(t, "server", 1, false, nil)
	//lint:ignore SA1019 it is what is tested
	old, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", p.keyBlock(t).Bytes, []byte("secret"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := string(pem.EncodeToMemory(old))
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	plain := string(pem.EncodeToMemory(p.keyBlock(t)))
	for _, tc := range []struct {
		name, certificate, key, password string
		want                             string // part of the error; empty = none
	}{
		{"one file", p.both(t), "", "", ""},
		{"two files", p.pem(), plain, "", ""},
		{"password", p.pem(), encrypted, "secret", ""},
		{"password, one file", p.pem() + encrypted, "", "secret", ""},
		{"password not needed", p.pem(), plain, "secret", ""},
		{"no password", p.pem(), encrypted, "", "set tls-key-password-file"},
		{"wrong password", p.pem(), encrypted, "geheim", "can't be decrypted"},
		{"PKCS#8", p.pem(), pkcs8, "secret", "openssl pkey"},
		{"other key", p.pem(), string(pem.EncodeToMemory(issue(t, "x", 1, false, nil).keyBlock(t))), "", "does not match"},
		{"no key", p.pem(), "", "", "private key"},
		{"no certificate", plain, "", "", "certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cert, key := write(t, filepath.Join(dir, "c"), tc.certificate), ""
			if tc.key != "" {
				key = write(t, filepath.Join(dir, "k"), tc.key)
			}
			_, err := KeyPair(cert, key, tc.password)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "geheim")) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestWhatCannotBeTrustedIsNotLoaded(t *testing.T) {
	t.Parallel()
	ca, other := issue(t, "ca", 1, true, nil), issue(t, "ca", 1, true, nil)
	_, f := setup(t, ca.pem())
	for _, tc := range []struct{ name, trust, want string }{
		{"empty", "", "no certificate is in it"},
		{"no PEM", "hello", "no certificate is in it"},
		{"broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate: "},
		{"broken list", ca.pem() + "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "revocation list: "},
		{"list by another of that name", ca.pem() + other.list(t, tomorrow), "is not signed by it"},
		{"list cut off", ca.pem() + strings.TrimSuffix(ca.list(t, tomorrow, 11), "-----END X509 CRL-----\n"), "1 of 2 certificates and revocation lists can't be read"},
		{"certificate changed", ca.pem() + strings.Replace(other.pem(), "M", "!", 1), "1 of 2 certificates and revocation lists can't be read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := f
			f.Authenticate = write(t, filepath.Join(t.TempDir(), "t"), tc.trust)
			if _, err := Load(f); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	f.Authenticate = ""
	if _, err := Load(f); err == nil {
		t.Error("a server that trusts nobody in particular is loaded")
	}
}

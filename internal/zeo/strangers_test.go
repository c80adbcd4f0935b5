package zeo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
)

// identity makes a certificate with a name, and the files that certs.Load reads of it.
func identity(t *testing.T, name string) (cert tls.Certificate, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(kind string, b []byte) string {
		file := filepath.Join(dir, kind)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}, write("CERTIFICATE", der), write("EC PRIVATE KEY", secret)
}

// stranger is a kind of client that may not come in.
type stranger struct {
	name string
	tls  *tls.Config // nil: it comes without
	say  string      // its bytes, after the handshake if there is one
}

// knock connects and says its say. It was let in if it was sent anything beyond the handshake.
func (s *stranger) knock(address string) (in bool, err error) {
	plain, err := net.Dial("tcp", address)
	if err != nil {
		return false, err
	}
	defer plain.Close()
	if err := plain.SetDeadline(time.Now().Add(patience)); err != nil {
		return false, err
	}
	conn := plain
	if s.tls != nil {
		conn = tls.Client(plain, s.tls) // Write does the handshake
	}
	_, _ = io.WriteString(conn, s.say)
	if s.tls == nil {
		if err := plain.(*net.TCPConn).CloseWrite(); err != nil {
			return false, nil // it is closed already
		}
	}
	var b [64]byte
	n, err := conn.Read(b[:])
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return false, err
	}
	alert := s.tls == nil && n > 0 && b[0] == 21 // the server says that this is no TLS
	return n > 0 && !alert, nil
}

// TestFloodOfStrangersCostsLittle: clients without a certificate, with one of somebody else of the
// same name, with old versions of TLS, without TLS, and with broken handshakes come as fast as they
// can. None of them is let in; memory, descriptors and the log stay small; earlier clients go on,
// and clients with a certificate come in.
func TestFloodOfStrangersCostsLittle(t *testing.T) {
	hometest.InTurn(t, 4)
	const parallel = 3 // of each kind
	each := hometest.Rounds(t, 120)
	if testing.Short() {
		each = 12
	}
	mine, certificate, key := identity(t, "zodb.org")
	double, _, _ := identity(t, "zodb.org")
	config, err := certs.Load(certs.Files{Certificate: certificate, Key: key, Authenticate: certificate})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(mine.Leaf)
	with := func(least, most uint16, list ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: roots, ServerName: "zodb.org", Certificates: list, MinVersion: least, MaxVersion: most}
	}
	ruok := string(frameOf([]byte("ruok")))
	strangers := []stranger{
		{"no certificate", with(tls.VersionTLS12, tls.VersionTLS13), ruok},
		{"no certificate, TLS 1.2", with(tls.VersionTLS12, tls.VersionTLS12), ruok},
		{"a double", with(tls.VersionTLS12, tls.VersionTLS13, double), ruok},
		{"a double, TLS 1.2", with(tls.VersionTLS12, tls.VersionTLS12, double), ruok},
		{"TLS 1.1", with(tls.VersionTLS11, tls.VersionTLS11, mine), ruok},
		{"TLS 1.0", with(tls.VersionTLS10, tls.VersionTLS10, mine), ruok},
		{"no TLS", nil, ruok},
		{"HTTP", nil, "GET / HTTP/1.0\r\n\r\n"},
		{"half a hello", nil, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
		{"a hello of 16 MB", nil, "\x16\x03\x01\x00\x04\x01\xff\xff\xff"},
		{"nothing", nil, ""},
	}
	ts, _, log := limited(t, Limits{Memory: 64 << 20, Files: 256, Connections: 100, Unregistered: 100}, func(o *Options) { o.TLS = config.Config() })
	ts.tls = with(tls.VersionTLS12, tls.VersionTLS13, mine)
	ts.served(ts.tls)
	eventually(t, "nobody is there", func() bool { return ts.Connections() == 0 })
	free, begin := ts.budgets.free(), inUse(t)
	came := 0
	knocked := make([]atomic.Int64, len(strangers))
	grown := costs(t, ts, func() {
		before := ts.client(wire.Msgpack)
		tid := before.commit(5, 0, "first")
		var wait sync.WaitGroup
		for i := range strangers {
			for range parallel {
				wait.Go(func() {
					for range each {
						in, err := strangers[i].knock(ts.address)
						if in || err != nil {
							t.Errorf("%s: let in %v, %v", strangers[i].name, in, err)
							return
						}
						knocked[i].Add(1)
					}
				})
			}
		}
		over := make(chan struct{})
		go func() { defer close(over); wait.Wait() }()
		for flood := true; flood; came++ {
			select {
			case <-over:
				flood = false
			default:
			}
			tid = before.commit(5, tid, "meanwhile")
			ts.served(ts.tls)
		}
		before.conn.Close()
	})
	if grown > 32<<20 {
		t.Errorf("%d bytes", grown)
	}
	for i, s := range strangers {
		if n := knocked[i].Load(); n != int64(parallel*each) {
			t.Errorf("%s: %d came", s.name, n)
		}
	}
	// There are three messages, and 200 lines of each before they are only counted.
	if lines := log.count("\n"); lines > 700 || log.len() > 150_000 || log.has("bug in the server") {
		t.Errorf("%d lines, %d bytes of log", lines, log.len())
	}
	eventually(t, "everything was given back", func() bool { return ts.Connections() <= 1 && ts.budgets.free() == free })
	begin.notMoreThan(t)
	t.Logf("%d rounds of innocent clients, %d bytes of memory, %d lines", came, grown, log.count("\n"))
}

// TestSilentConnectionsThatComeAgainLockNobodyOut: those that are turned out of the lobby come
// again at once, from the address from which a client with a certificate comes, too.
func TestSilentConnectionsThatComeAgainLockNobodyOut(t *testing.T) {
	t.Parallel()
	const room = 300
	ts, refused, log, mine := withCertificates(t, Limits{Unregistered: room, Hello: time.Hour})
	stop := make(chan struct{})
	var wait sync.WaitGroup
	var came atomic.Int64
	for range room + room/10 {
		wait.Go(func() {
			for {
				c, err := net.Dial("tcp", ts.address)
				if err != nil {
					t.Error(err)
					return
				}
				came.Add(1)
				gone := make(chan struct{})
				go func() { defer close(gone); _, _ = c.Read(make([]byte, 1)) }()
				select {
				case <-gone:
					time.Sleep(20 * time.Millisecond) // all of them look so often
				case <-stop:
				}
				c.Close()
				<-gone
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	eventually(t, "the lobby is full", func() bool { return refused.of("unregistered") > 0 })
	served := 0
	const tries = 30
	for range tries {
		if c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: ts.address, TLS: mine}); err == nil {
			if c.Ping(t.Context()) == nil {
				served++
			}
			c.Close()
		}
	}
	close(stop)
	wait.Wait()
	if served < tries*2/3 {
		t.Errorf("%d of %d were served", served, tries)
	}
	if n := log.count("before it registered"); n > 230 {
		t.Errorf("%d lines in the log", n)
	}
	t.Logf("%d of %d were served, %d silent connections came", served, tries, came.Load())
}

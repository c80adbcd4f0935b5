package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// certsSite is a server with certificates, as an operator keeps it: site has the files of the server.
type certsSite struct {
	t       *testing.T
	dir     string
	address string
	server  *serverProcess
	reloads int
}

func (c *certsSite) at(name string) string { return filepath.Join(c.dir, name) }

// copies copies files to the server.
func (c *certsSite) copies(pairs ...string) {
	c.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if err := os.WriteFile(c.at(pairs[i+1]), []byte(readFile(c.t, c.at(pairs[i]))), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *certsSite) reload() {
	c.t.Helper()
	if err := c.server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		c.t.Fatal(err)
	}
	c.reloads++
	c.server.await(&c.server.log, fmt.Sprintf(`(?s)(?:reloaded level.*){%d}`, c.reloads)+`()`)
}

// connect dials with the certificate of a client, and trusts some authorities.
func (c *certsSite) connect(name string, authorities ...string) (*zeoclient.Client, *x509.Certificate, error) {
	c.t.Helper()
	pair, err := tls.LoadX509KeyPair(c.at(name+".pem"), c.at(name+".key"))
	if err != nil {
		c.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, a := range authorities {
		roots.AppendCertsFromPEM([]byte(readFile(c.t, c.at(a+"/ca.pem"))))
	}
	var of *x509.Certificate
	client, err := zeoclient.Dial(c.t.Context(), zeoclient.Options{Address: c.address, TLS: &tls.Config{
		RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair},
		VerifyConnection: func(cs tls.ConnectionState) error { of = cs.PeerCertificates[0]; return nil }}})
	if err == nil {
		c.t.Cleanup(func() { client.Close() })
	}
	return client, of, err
}

// in wants a client to be let in, which it returns.
func (c *certsSite) in(name string, authorities ...string) (*zeoclient.Client, *x509.Certificate) {
	c.t.Helper()
	client, of, err := c.connect(name, authorities...)
	if err != nil {
		c.t.Fatalf("%s: %v", name, err)
	}
	return client, of
}

// out wants it to be refused.
func (c *certsSite) out(name string, authorities ...string) {
	c.t.Helper()
	if _, _, err := c.connect(name, authorities...); err == nil {
		c.t.Errorf("%s is let in", name)
	}
}

func (c *certsSite) served(who string, client *zeoclient.Client) {
	c.t.Helper()
	if _, err := client.LoadBefore(c.t.Context(), 0, zodb.MaxTID); err != nil && !errors.Is(err, zodb.ErrNotFound) {
		c.t.Errorf("the connection of %s from before: %v", who, err)
	}
}

// python connects a client that stays; commits returns when it has committed. Without Python's client it does nothing.
func (c *certsSite) python(name, authority string) (commits func(text string)) {
	c.t.Helper()
	python, env := pythonSource()
	if python == "" {
		return func(string) {}
	}
	cmd := exec.CommandContext(c.t.Context(), python, filepath.Join("testdata", "certslife.py"), c.at(authority+"/ca.pem"), c.at(name+".pem"), c.at(name+".key"), c.address)
	cmd.Env = env
	p := &serverProcess{t: c.t, cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	p.start()
	c.t.Cleanup(func() { in.Close() })
	return func(text string) {
		c.t.Helper()
		if _, err := io.WriteString(in, text+"\n"); err != nil {
			c.t.Fatal(err)
		}
		p.await(&p.out, "(committed "+text+")")
	}
}

// TestALifeOfCertificates of a server that is never restarted, from its first certificates to another authority, with
// the steps of docs/server-config.md, and clients that stay connected.
func TestALifeOfCertificates(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: takes seconds; each step has a test of its own")
	}
	t.Parallel()
	c := &certsSite{t: t, dir: t.TempDir()}
	now := time.Now()
	certsAt(t, now, exitOK, "authority", c.at("ca"), "--days", "50")
	certsAt(t, now.AddDate(0, 0, -20), exitOK, "server", c.at("ca"), "localhost", "--days", "22")
	for _, name := range []string{"zope1", "zope2"} {
		certsAt(t, now, exitOK, "client", c.at("ca"), name)
	}
	for _, dir := range []string{"trusted", "lists"} {
		if err := os.Mkdir(c.at(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	start := []string{"--listen", "127.0.0.1:0", "--tls-certificate", "server.pem", "--tls-key", "server.key", "--tls-authenticate", "trusted", "--tls-revoked", "lists", "home"}
	c.copies("ca/localhost.pem", "server.pem", "ca/localhost.key", "server.key", "ca/ca.pem", "trusted/ca.pem")

	early := startServeIn(t, c.dir, strings.Split(strings.ReplaceAll(strings.Join(start, " "), "lists", "ca.crl"), " ")...)
	if err := early.cmd.Wait(); err == nil {
		t.Error("a server starts without the list that it is to have")
	}
	says(t, early.log.String(), "hint: dirstorage certs revoke DIR", "makes an empty list")
	certsAt(t, now, exitOK, "revoke", c.at("ca"))
	c.copies("ca/ca.crl", "lists/ca.crl")
	c.server = startServeIn(t, c.dir, start...)
	c.address = c.server.await(&c.server.log, `listening address=(127\.\S+)`)
	c.server.await(&c.server.log, `(certificate ends soon; renew it, and reload use=server name=localhost)`)

	first, of := c.in("ca/zope1", "ca")
	second, _ := c.in("ca/zope2", "ca")
	python := c.python("ca/zope1", "ca")
	python("one")

	// The end of one comes while its client is connected.
	soon := time.Now().Add(8*time.Second - 24*time.Hour) // a busy machine connects within that
	certsAt(t, soon, exitOK, "client", c.at("ca"), "zope3", "--days", "1")
	third, _ := c.in("ca/zope3", "ca")
	hometest.Eventually(t, "a client whose certificate has ended is refused", func() bool { _, _, err := c.connect("ca/zope3", "ca"); return err != nil })
	c.served("zope3, which has ended", third)
	out, _ := certsAt(t, time.Now(), exitOK, "renew", c.at("ca"), "zope3")
	says(t, out, "copy it to the client")
	c.in("ca/zope3", "ca")

	// All that end soon, the authority included, with their keys.
	out, _ = certsAt(t, time.Now(), exitOK, "renew", c.at("ca"))
	says(t, out, "ca.pem: authority", "copy it to server and clients", "localhost.pem: server localhost", "copy it to the server, and reload", "zope1.pem: client zope1")
	c.copies("ca/localhost.pem", "server.pem", "ca/ca.pem", "trusted/ca.pem", "ca/ca.crl", "lists/ca.crl")
	c.reload()
	renewed, after := c.in("ca/zope1", "ca")
	if !after.NotAfter.After(of.NotAfter) || !bytes.Equal(after.RawSubjectPublicKeyInfo, of.RawSubjectPublicKeyInfo) {
		t.Errorf("the server shows the certificate until %s, before until %s", after.NotAfter, of.NotAfter)
	}
	c.served("zope1", first)
	python("two")

	// A key in wrong hands.
	_, text := certsAt(t, time.Now(), exitUsage, "revoke", c.at("ca"), "ca")
	says(t, text, "its own list cannot revoke")
	certsAt(t, time.Now(), exitOK, "revoke", c.at("ca"), "zope2")
	c.served("zope2", second)
	c.copies("ca/ca.crl", "lists/ca.crl")
	c.reload()
	<-second.Done()
	c.out("ca/zope2", "ca")
	c.served("zope1", renewed)
	python("three")
	for _, end := range []string{".pem", ".key"} {
		if err := os.Rename(c.at("ca/zope2"+end), c.at("away"+end)); err != nil {
			t.Fatal(err)
		}
	}
	certsAt(t, time.Now(), exitOK, "client", c.at("ca"), "zope2")
	second, _ = c.in("ca/zope2", "ca")
	c.out("away", "ca")

	// Another authority: both for a while, then the new one alone.
	certsAt(t, time.Now(), exitOK, "authority", c.at("ca2"))
	certsAt(t, time.Now(), exitOK, "server", c.at("ca2"), "localhost")
	certsAt(t, time.Now(), exitOK, "client", c.at("ca2"), "zope1")
	certsAt(t, time.Now(), exitOK, "revoke", c.at("ca2"))
	c.out("ca2/zope1", "ca")
	c.copies("ca2/ca.pem", "trusted/ca2.pem", "ca2/ca.crl", "lists/ca2.crl")
	c.reload()
	c.in("ca2/zope1", "ca", "ca2")
	c.in("ca/zope2", "ca", "ca2")
	c.copies("ca2/localhost.pem", "server.pem", "ca2/localhost.key", "server.key")
	c.reload()
	c.out("ca2/zope1", "ca")
	_, of = c.in("ca2/zope1", "ca", "ca2")
	if authority := oneCertificate(t, c.at("ca2/ca.pem")); of.CheckSignatureFrom(authority) != nil {
		t.Error("the server does not show its certificate of the new authority")
	}
	for _, name := range []string{"trusted/ca.pem", "lists/ca.crl"} {
		if err := os.Remove(c.at(name)); err != nil {
			t.Fatal(err)
		}
	}
	c.reload()
	c.out("ca/zope2", "ca2")
	c.served("zope2, of the old authority", second)
	newPython := c.python("ca2/zope1", "ca2")
	newPython("four")
	c.server.end()
}

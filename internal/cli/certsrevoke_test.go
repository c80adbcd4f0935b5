package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// listIn reads the revocation list of a directory.
func listIn(t *testing.T, dir string) *x509.RevocationList {
	t.Helper()
	found, err := certs.Find(filepath.Join(dir, "ca.crl"))
	if err != nil || len(found) != 1 || found[0].List == nil {
		t.Fatalf("%v, %v: want one list", found, err)
	}
	return found[0].List
}

// TestNameOfARevokedCertificateIsUsedAgain: the command says that it is revoked, and makes a new
// certificate when its files are away, with a new key, which no revocation of the old one covers.
func TestNameOfARevokedCertificateIsUsedAgain(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ca, away := filepath.Join(t.TempDir(), "ca"), t.TempDir()
	at := func(name string) string { return filepath.Join(ca, name) }
	certsAt(t, start, exitOK, "authority", ca)
	certsAt(t, start, exitOK, "client", ca, "zope1")
	old := oneCertificate(t, at("zope1.pem"))
	_, text := certsAt(t, start, exitFailed, "client", ca, "zope1")
	says(t, text, "zope1.pem exists already", "certs renew")
	certsAt(t, start, exitOK, "revoke", ca, "zope1")
	_, text = certsAt(t, start, exitFailed, "client", ca, "zope1")
	says(t, text, "zope1.pem exists already, and is revoked", "hint: move it and ")
	if strings.Contains(text, "renew") {
		t.Errorf("a revoked certificate is to be renewed: %s", text)
	}
	move := func(name string) {
		t.Helper()
		if err := os.Rename(at(name), filepath.Join(away, name)); err != nil {
			t.Fatal(err)
		}
	}
	move("zope1.pem")
	_, text = certsAt(t, start, exitFailed, "client", ca, "zope1")
	says(t, text, "zope1.key is the key of a certificate that was revoked")
	move("zope1.key")
	certsAt(t, start, exitOK, "client", ca, "zope1")
	again := oneCertificate(t, at("zope1.pem"))
	if bytes.Equal(again.RawSubjectPublicKeyInfo, old.RawSubjectPublicKeyInfo) {
		t.Error("the new certificate has the old key")
	}
	// Nor does it revoke the new one when the old one is revoked again by its number.
	certsAt(t, start, exitOK, "revoke", ca, "--serial", old.SerialNumber.Text(16))
	list := listIn(t, ca)
	if _, revoked := certs.RevokedAt(list, again); revoked {
		t.Error("the new certificate is revoked")
	}
	if _, revoked := certs.RevokedAt(list, old); !revoked {
		t.Error("the old certificate is good again")
	}
}

// TestRevokedCertificatesAreListedAndNotRenewed, those of the same key from before a renewal included.
func TestRevokedCertificatesAreListedAndNotRenewed(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ca := filepath.Join(t.TempDir(), "ca")
	at := func(name string) string { return filepath.Join(ca, name) }
	certsAt(t, start, exitOK, "authority", ca)
	for _, name := range []string{"zope1", "zope2", "zope3"} {
		certsAt(t, start, exitOK, "client", ca, name)
	}
	first := oneCertificate(t, at("zope1.pem"))
	renewed := start.AddDate(0, 0, 800)
	certsAt(t, renewed, exitOK, "renew", ca, "zope1")
	second := oneCertificate(t, at("zope1.pem"))

	// A list of nobody, for the settings of the server, and then one of somebody.
	out, _ := certsAt(t, renewed, exitOK, "revoke", ca)
	says(t, out, "ca.crl: revocation list with 0 entries, good until 2030-10-12; copy it to the server, and reload")
	empty := listIn(t, ca)
	out, _ = certsAt(t, renewed, exitOK, "revoke", ca, "zope1", "--days", "100")
	says(t, out, "zope1.pem: client zope1, serial "+second.SerialNumber.Text(16)+", is revoked", "issued/zope1-"+first.SerialNumber.Text(16)+".pem: client zope1", "with 2 entries")
	list := listIn(t, ca)
	if err := list.CheckSignatureFrom(oneCertificate(t, at("ca.pem"))); err != nil || list.Number.Cmp(empty.Number) <= 0 {
		t.Errorf("%v, number %v after %v", err, list.Number, empty.Number)
	}
	for name, tc := range map[string]struct {
		c    *x509.Certificate
		want bool
	}{"from before": {first, true}, "renewed": {second, true}, "another": {oneCertificate(t, at("zope2.pem")), false}} {
		if _, ok := certs.RevokedAt(list, tc.c); ok != tc.want {
			t.Errorf("%s: revoked %t, want %t", name, ok, tc.want)
		}
	}

	// A revoked certificate stays so: by another name, by a serial number, by a file, and with a new end.
	certsAt(t, renewed.AddDate(0, 0, 1), exitOK, "revoke", ca, "zope2", "--days", "100")
	outside := filepath.Join(t.TempDir(), "moved.pem")
	if err := os.Rename(at("zope3.pem"), outside); err != nil {
		t.Fatal(err)
	}
	out, _ = certsAt(t, renewed.AddDate(0, 0, 2), exitOK, "revoke", ca, outside, "--serial", "0A:0b", "--days", "100")
	says(t, out, "with 5 entries")
	certsAt(t, renewed.AddDate(0, 0, 2), exitOK, "revoke", ca, "zope3", "--days", "100") // the file is not there
	out, _ = certsAt(t, renewed.AddDate(0, 0, 60), exitOK, "renew", ca)
	says(t, out, "ca.crl: revocation list with 5 entries, good until")
	if strings.Contains(out, "zope") {
		t.Errorf("revoked certificates were renewed:\n%s", out)
	}
	list = listIn(t, ca)
	if at, ok := certs.RevokedAt(list, second); !ok || !at.Equal(renewed) {
		t.Errorf("revoked %t at %v, want %v", ok, at, renewed)
	}

	// Neither renewed by name, nor made again with the same key; with another key it is good.
	_, errs := certsAt(t, renewed, exitFailed, "renew", ca, "zope1")
	says(t, errs, "zope1.pem is revoked, and with it its key", "hint: move it and zope1.key away")
	if err := os.Remove(at("zope1.pem")); err != nil {
		t.Fatal(err)
	}
	_, errs = certsAt(t, renewed, exitFailed, "client", ca, "zope1")
	says(t, errs, "zope1.key is the key of a certificate that was revoked", "hint: move it away for a new key")
	if err := os.Remove(at("zope1.key")); err != nil {
		t.Fatal(err)
	}
	certsAt(t, renewed, exitOK, "client", ca, "zope1")
	if _, ok := certs.RevokedAt(list, oneCertificate(t, at("zope1.pem"))); ok {
		t.Error("the new certificate is revoked")
	}

	// Marked in the list, also of a file alone; one that has ended is nothing to be renewed.
	out, _ = certsAt(t, start.AddDate(0, 0, 820), exitOK, "list", ca)
	says(t, out, "client, revoked", "zope2", "client           zope1")
	out, _ = certsAt(t, start.AddDate(0, 0, 826), exitOK, "list", "--json", at("zope2.pem"))
	var l certificateLine
	if err := json.Unmarshal([]byte(out), &l); err != nil || !l.Ended || l.Revoked == nil || !l.Revoked.Equal(renewed.AddDate(0, 0, 1)) {
		t.Errorf("%+v, %v", l, err)
	}
	out, _ = certsAt(t, renewed, exitOK, "show", at("zope2.pem"), at("ca.crl"))
	says(t, out, "revoked  2028-07-10T12:00:00Z", "entries  5")
}

// TestRevocationsAreNotLost: a list that is broken, or by another authority, is not replaced.
func TestRevocationsAreNotLost(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	ca, other := filepath.Join(dir, "ca"), filepath.Join(dir, "other")
	for _, d := range []string{ca, other} {
		certsAt(t, now, exitOK, "authority", d)
		certsAt(t, now, exitOK, "client", d, "zope1")
	}
	certsAt(t, now, exitOK, "revoke", ca, "zope1")
	certsAt(t, now, exitOK, "revoke", other, "zope1")
	name := filepath.Join(ca, "ca.crl")
	for text, want := range map[string]string{
		readFile(t, name)[:100]: "ca.crl: it is not one revocation list in PEM", readFile(t, filepath.Join(other, "ca.crl")): "is not by the authority",
		readFile(t, name) + readFile(t, name): "it is not one revocation list",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, errs := certsAt(t, now, exitFailed, "revoke", ca)
		says(t, errs, want)
		if readFile(t, name) != text {
			t.Errorf("%s: it was replaced", want)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	_, errs := certsAt(t, now, exitFailed, "revoke", ca, filepath.Join(other, "zope1.pem"))
	says(t, errs, "is no certificate of a client or server by the authority")
	for _, args := range [][]string{{"revoke", ca, "nobody"}, {"revoke", ca, "ca"}, {"revoke", ca, "--serial", "xyz"}, {"revoke", ca, "--days", "0"}} {
		_, errs := certsAt(t, now, exitUsage, args...)
		says(t, errs, "want ")
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("a command that failed has made a list")
	}
	_, errs = certsAt(t, now.AddDate(11, 0, 0), exitFailed, "revoke", ca)
	says(t, errs, "hint: renew it first")
}

// TestRevokedClientsAreLockedOut of ZEO and of the pages, those that are connected included, with
// Python's client, too.
func TestRevokedClientsAreLockedOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	now := time.Now()
	certsAt(t, now, exitOK, "authority", at("ca"))
	certsAt(t, now, exitOK, "server", at("ca"), "localhost", "127.0.0.1")
	for _, name := range []string{"zope1", "zope2"} {
		certsAt(t, now, exitOK, "client", at("ca"), name)
	}
	// The thief has the certificate from before a renewal.
	for _, end := range []string{".pem", ".key"} {
		if err := os.WriteFile(at("stolen"+end), []byte(readFile(t, at("ca/zope1"+end))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certsAt(t, now, exitOK, "renew", at("ca"), "zope1")
	certsAt(t, now, exitOK, "revoke", at("ca"))
	s := startServeIn(t, dir, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--http-tls", "--web",
		"--tls-certificate", "ca/localhost.pem", "--tls-key", "ca/localhost.key", "--tls-authenticate", "ca/ca.pem", "--tls-revoked", "ca/ca.crl", "home")
	address := s.await(&s.log, `listening address=(127\.\S+)`)
	web := "https://" + s.await(&s.log, `listening for probes and metrics address=(\S+)`)
	roots, err := certs.Trusted(at("ca/ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	as := func(name string) *tls.Config {
		t.Helper()
		pair, err := tls.LoadX509KeyPair(at(name+".pem"), at(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}}
	}
	connect := func(name string) (*zeoclient.Client, error) {
		return zeoclient.Dial(t.Context(), zeoclient.Options{Address: address, TLS: as(name)})
	}
	page := func(c *http.Client) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", web+"/web/", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r)
		if err != nil {
			return 0, err
		}
		return answer.StatusCode, answer.Body.Close()
	}
	browser := func(name string) *http.Client {
		return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{TLSClientConfig: as(name)}}
	}

	open := make(map[string]*zeoclient.Client)
	browsers := make(map[string]*http.Client)
	names := []string{"stolen", "ca/zope1", "ca/zope2"}
	for _, name := range names {
		if open[name], err = connect(name); err != nil {
			t.Fatal(name, err)
		}
		defer open[name].Close()
		browsers[name] = browser(name)
		hometest.Eventually(t, "pages come", func() bool { code, err := page(browsers[name]); return err == nil && code == http.StatusOK })
	}
	certsAt(t, now, exitOK, "revoke", at("ca"), "zope1")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, `(reloaded level)`)
	s.await(&s.log, `(connection ended: its certificate is revoked.* err="the certificate zope1, serial)`)
	for _, name := range names {
		revoked := name != "ca/zope2"
		_, err := connect(name)
		if (err != nil) != revoked {
			t.Errorf("%s: a new connection: %v", name, err)
		}
		if revoked { // the connection from before
			<-open[name].Done()
		}
		if !revoked {
			if _, err := open[name].LoadBefore(t.Context(), 0, zodb.MaxTID); err != nil && !errors.Is(err, zodb.ErrNotFound) {
				t.Errorf("%s: the connection from before: %v", name, err)
			}
		}
		if code, err := page(browsers[name]); revoked == (err == nil && code == http.StatusOK) {
			t.Errorf("%s: a page by the connection from before: %d, %v", name, code, err)
		}
		if code, err := page(browser(name)); (err != nil) != revoked {
			t.Errorf("%s: a page by a new connection: %d, %v", name, code, err)
		}
		if revoked {
			s.await(&s.log, `(client refused: its certificate is revoked client=127\S+ name=zope1 serial=`+oneCertificate(t, at(name+".pem")).SerialNumber.Text(16)+")")
		}
	}
	// The end of the list is told like that of a certificate.
	c := browser("ca/zope2")
	answer, err := c.Get(web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	var metrics bytes.Buffer
	_, err = metrics.ReadFrom(answer.Body)
	answer.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	says(t, metrics.String(), `dirstorage_certificate_end_timestamp_seconds{name="ZODB authority",use="revocation list"}`)

	t.Run("Python", func(t *testing.T) {
		python, env := pythonSource()
		if python == "" {
			t.Skip("ZODB_SRC names no folder with the Python client")
		}
		for name, want := range map[string]string{"stolen": "is refused: ", "ca/zope1": "is refused: ", "ca/zope2": "greeted"} {
			c := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "certs.py"), dir, address, name)
			c.Env = env
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			says(t, string(out), name+" "+want)
		}
	})

	// A list that is missing changes nothing at a reload, and lets nothing start.
	if err := os.Rename(at("ca/ca.crl"), at("ca.crl")); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, `(reload failed; everything stays as it was.*tls-revoked)`)
	if _, err := connect("stolen"); err == nil {
		t.Error("a revoked client is let in after a reload that failed")
	}
	s.end()
	s = startServeIn(t, dir, "--listen", "127.0.0.1:0", "--tls-certificate", "ca/localhost.pem", "--tls-key", "ca/localhost.key", "--tls-authenticate", "ca/ca.pem", "--tls-revoked", "ca/ca.pem", "home")
	if err := s.cmd.Wait(); err == nil {
		t.Error("it starts with a file without a list")
	}
	says(t, s.log.String(), "tls-revoked: ca/ca.pem: no revocation list is in it; want PEM")
}

// TestSerialsOfKnownCertificatesRevokeTheirKeys, as names do: the log of the server shows the number of
// one certificate, and the thief of its key has others.
func TestSerialsOfKnownCertificatesRevokeTheirKeys(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ca := filepath.Join(t.TempDir(), "ca")
	certsAt(t, now, exitOK, "authority", ca)
	certsAt(t, now, exitOK, "client", ca, "zope1")
	first := oneCertificate(t, filepath.Join(ca, "zope1.pem"))
	certsAt(t, now, exitOK, "renew", ca, "zope1")
	second := oneCertificate(t, filepath.Join(ca, "zope1.pem"))
	out, errs := certsAt(t, now, exitOK, "revoke", ca, "--serial", first.SerialNumber.Text(16), "--serial", "a0b")
	says(t, out, "zope1", "serial "+second.SerialNumber.Text(16)+", is revoked", "with 3 entries")
	says(t, errs, "--serial a0b: no certificate in "+ca+" has it")
	for _, c := range []*x509.Certificate{first, second} {
		if _, ok := certs.RevokedAt(listIn(t, ca), c); !ok {
			t.Errorf("%x is not revoked", c.SerialNumber)
		}
	}
	_, errs = certsAt(t, now, exitFailed, "renew", ca, "zope1")
	says(t, errs, "is revoked, and with it its key")

	// That of the authority would lock all clients out.
	authority := oneCertificate(t, filepath.Join(ca, "ca.pem"))
	_, errs = certsAt(t, now, exitUsage, "revoke", ca, "--serial", authority.SerialNumber.Text(16))
	says(t, errs, "is that of the authority itself")

	// A file without a certificate revokes nothing.
	file := filepath.Join(t.TempDir(), "list.pem")
	if err := os.WriteFile(file, []byte(readFile(t, filepath.Join(ca, "ca.crl"))), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs = certsAt(t, now, exitFailed, "revoke", ca, file)
	says(t, errs, "list.pem: no certificate is in it")
}

// TestAReloadSaysThatANewListIsNotInForce: the lists that tls-revoked names count from the start.
func TestAReloadSaysThatANewListIsNotInForce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, conf, now := filepath.Join(dir, "ca"), filepath.Join(dir, "d.toml"), time.Now()
	certsAt(t, now, exitOK, "authority", ca)
	certsAt(t, now, exitOK, "server", ca, "localhost", "127.0.0.1")
	certsAt(t, now, exitOK, "revoke", ca)
	settings := "listen = [\"127.0.0.1:0\"]\ntls-certificate = \"ca/localhost.pem\"\ntls-key = \"ca/localhost.key\"\ntls-authenticate = \"ca/ca.pem\"\n"
	write := func(text string) {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(settings)
	s := startServeIn(t, dir, "--config", conf, "home")
	s.await(&s.log, "(listening address)")
	write(settings + "tls-revoked = \"ca/ca.crl\"\n")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, "settings of TLS have changed: .*restart the server for tls-revoked")

	// Files that are not read to their ends, as those of a disk that hangs, do not keep it from stopping.
	trusted := filepath.Join(ca, "ca.pem")
	if err := os.Remove(trusted); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(trusted, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hung, err := os.OpenFile(trusted, os.O_WRONLY, 0) // waits for its reader
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	s.await(&s.log, "(reload has not ended: a file of it is not read to its end)")
	s.end()
}

// TestEndOfARevocationListIsTold by the log and by status, before it and behind it, as that of a list: then
// no client of its authority comes in.
func TestEndOfARevocationListIsTold(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ends := []certs.End{{Use: certs.UseRevocation, Name: "ZODB authority", At: end, Soon: end.Add(-48 * time.Hour)}}
	for name, tc := range map[string]struct {
		now              time.Time
		log, code, tells string
	}{
		"long before": {end.Add(-72 * time.Hour), `level=INFO msg=certificates first_use="revocation list" first_name="ZODB authority" first_end=2026-05-01T12:00:00Z`, "", "the revocation list of ZODB authority ends at 2026-05-01"},
		"soon":        {end.Add(-24 * time.Hour), `level=WARN msg="certificate ends soon; renew it, and reload" use="revocation list" name="ZODB authority" end=2026-05-01T12:00:00Z days=1`, certificateEnds, "in 1 day"},
		"behind":      {end, `level=ERROR msg="revocation list has ended: all clients of its authority are refused; renew it, and reload" use="revocation list"`, certificateEnded, "the revocation list of ZODB authority has ended at 2026-05-01"},
	} {
		var log bytes.Buffer
		logEnds(slog.New(slog.NewTextHandler(&log, nil)), ends, tc.now)
		says(t, log.String(), tc.log)
		st := well(tc.now)
		st.Server.Certificates = []certificateEnd{{ends[0].Use, ends[0].Name, ends[0].At, ends[0].Soon}}
		st.findProblems(tc.now, problemLimits{})
		codes := ""
		for _, p := range st.Problems {
			codes += p.Code
			says(t, p.Text, tc.tells)
		}
		if codes != tc.code {
			t.Errorf("%s: problems %q, want %q", name, codes, tc.code)
		}
		says(t, strings.Join(layoutRows(&env{}, st.rows(tc.now), 0, false), "\n"), tc.tells)
	}
}

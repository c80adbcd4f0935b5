package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/certs"
	"github.com/dirstorage/dirstorage/internal/hometest"
)

// certsAt runs certs at a time and returns its output and its errors.
func certsAt(t *testing.T, now time.Time, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	e, out, errs := testEnv()
	e.Now = func() time.Time { return now }
	if got := run(t.Context(), e, append([]string{"certs"}, args...)); got != status {
		t.Errorf("certs %v: status %d, want %d\n%s%s", args, got, status, out, errs)
	}
	return out.String(), errs.String()
}

func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("says %q, want %q in it", text, p)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCertificatesAreNeverOverwritten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ca := filepath.Join(t.TempDir(), "ca")
	_, errs := certsAt(t, now, exitFailed, "server", ca, "a.example")
	says(t, errs, "no such file", "hint: make an authority first: dirstorage certs authority")
	for _, args := range [][]string{{"authority", ca}, {"server", ca, "zodb.example.org", "10.0.0.5", "localhost"}, {"client", ca, "zope1"}} {
		out, _ := certsAt(t, now, exitOK, args...)
		says(t, out, "good until", ".key is new")
		before := make(map[string]string)
		for _, name := range []string{"ca", "zodb.example.org", "zope1"} {
			for _, end := range []string{".pem", ".key"} {
				b, _ := os.ReadFile(filepath.Join(ca, name+end))
				before[name+end] = string(b)
			}
		}
		_, errs := certsAt(t, now, exitFailed, args...)
		says(t, errs, ".pem exists already", "hint: it is not replaced")
		for name, text := range before {
			if b, _ := os.ReadFile(filepath.Join(ca, name)); string(b) != text {
				t.Errorf("%v has changed %s", args, name)
			}
		}
	}
	for _, key := range []string{"ca.key", "zodb.example.org.key", "zope1.key"} {
		if info, err := os.Stat(filepath.Join(ca, key)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", key, info, err)
		}
	}

	// A key without a certificate, as an interrupted command leaves it, is used; half a one is not.
	key := readFile(t, filepath.Join(ca, "zope1.key"))
	if err := os.Remove(filepath.Join(ca, "zope1.pem")); err != nil {
		t.Fatal(err)
	}
	out, _ := certsAt(t, now, exitOK, "client", ca, "zope1")
	says(t, out, "zope1.key was there, and is kept")
	if _, err := certs.KeyPair(filepath.Join(ca, "zope1.pem"), filepath.Join(ca, "zope1.key"), ""); err != nil || readFile(t, filepath.Join(ca, "zope1.key")) != key {
		t.Errorf("the key changed, or does not fit: %v", err)
	}
	if err := os.WriteFile(filepath.Join(ca, "half.key"), []byte(key[:60]), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs = certsAt(t, now, exitFailed, "client", ca, "half")
	says(t, errs, "half.key: there is no unencrypted private key", "hint: it is never overwritten")
	if got := readFile(t, filepath.Join(ca, "half.key")); got != key[:60] {
		t.Error("the half key was overwritten")
	}
}

func TestCertificatesWithBadNamesAreRefused(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca := filepath.Join(t.TempDir(), "ca")
	certsAt(t, now, exitOK, "authority", ca)
	for _, args := range [][]string{
		{"server", ca, "zodb.example.org:8100"}, {"server", ca, "https://zodb"}, {"server", ca, "zödb"}, {"server", ca, "a b"}, {"server", ca, "a..b"}, {"server", ca, "a", "b-"},
		{"client", ca, "../zope"}, {"client", ca, ".."}, {"client", ca, "ca"}, {"client", ca, "a\nb"}, {"client", ca, strings.Repeat("a", 65)}, {"server", ca, "ca"},
		{"client", ca, "a", "--days", "0"}, {"renew", ca, "--days", "-1"}, {"renew", ca, "--within", "-1"}, {"renew", ca, "nobody"}, {"list", ca, "--within", "-1"},
		{"authority", ca + "2", "--name", strings.Repeat("a", 65)}, {"authority", ca + "2", "--days", "100000"}, {"client", filepath.Join(ca, "ca.pem"), "a"},
	} {
		_, errs := certsAt(t, now, exitUsage, args...)
		says(t, errs, "want ")
	}
	if found, err := certs.Find(ca); err != nil || len(found) != 1 {
		t.Errorf("%v, %v: want the authority alone", found, err)
	}
}

func TestRenewedCertificatesKeepTheirKeys(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ca := filepath.Join(t.TempDir(), "ca")
	certsAt(t, start, exitOK, "authority", ca, "--days", "900")
	certsAt(t, start, exitOK, "server", ca, "zodb.example.org", "10.0.0.5")
	certsAt(t, start, exitOK, "client", ca, "zope1", "--days", "400")
	certsAt(t, start, exitOK, "client", ca, "both")
	both := filepath.Join(ca, "both.pem")
	if err := os.WriteFile(both, []byte(readFile(t, both)+readFile(t, filepath.Join(ca, "both.key"))), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := certsAt(t, start, exitOK, "renew", ca)
	says(t, out, "no certificate in "+ca+" ends within 60 days")

	// The key of a client need not be there.
	if err := os.Remove(filepath.Join(ca, "zope1.key")); err != nil {
		t.Fatal(err)
	}
	old := make(map[string]*x509.Certificate)
	for _, name := range []string{"ca", "zodb.example.org", "zope1"} {
		old[name] = oneCertificate(t, filepath.Join(ca, name+".pem"))
	}
	server, keys := readFile(t, filepath.Join(ca, "zodb.example.org.pem")), readFile(t, filepath.Join(ca, "ca.key"))
	out, _ = certsAt(t, start.AddDate(0, 0, 350), exitOK, "renew", ca)
	says(t, out, "zope1.pem: client zope1, good until 2028-10-17; the key is the same") // no longer than the authority
	if readFile(t, filepath.Join(ca, "zodb.example.org.pem")) != server {
		t.Error("a certificate was renewed that does not end soon")
	}

	// All at their ends: the authority first, and a file that has its key too is left.
	then := start.AddDate(0, 0, 895)
	withKey := readFile(t, both)
	out, errs := certsAt(t, then, exitFailed, "renew", ca)
	says(t, out, "ca.pem: authority ZODB authority", "zodb.example.org.pem: server zodb.example.org, 10.0.0.5")
	says(t, errs, "both.pem was not renewed", "hint: move the rest to a file of its own")
	if readFile(t, both) != withKey || readFile(t, filepath.Join(ca, "ca.key")) != keys {
		t.Error("a key was lost")
	}
	authority := oneCertificate(t, filepath.Join(ca, "ca.pem"))
	for name, before := range old {
		c := oneCertificate(t, filepath.Join(ca, name+".pem"))
		if !bytes.Equal(c.RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo) {
			t.Errorf("%s has another key", name)
		}
		if fmt.Sprint(certs.NamesOf(c)) != fmt.Sprint(certs.NamesOf(before)) || c.SerialNumber.Cmp(before.SerialNumber) == 0 || !c.NotAfter.After(before.NotAfter) {
			t.Errorf("%s: %v until %v, before %v until %v", name, certs.NamesOf(c), c.NotAfter, certs.NamesOf(before), before.NotAfter)
		}
		if err := before.CheckSignatureFrom(authority); err != nil {
			t.Errorf("the renewed authority does not stand for %s of before: %v", name, err)
		}
	}
}

func oneCertificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(readFile(t, name)))
	if block == nil {
		t.Fatalf("%s: no PEM", name)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEndsOfCertificatesAreListed(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ca := filepath.Join(t.TempDir(), "ca")
	certsAt(t, start, exitOK, "authority", ca)
	certsAt(t, start, exitOK, "server", ca, "late", "--days", "300")
	certsAt(t, start, exitOK, "client", ca, "early", "--days", "100")
	out, _ := certsAt(t, start, exitOK, "list", ca)
	early, late, last := strings.Index(out, "2026-08-09  100"), strings.Index(out, "2027-02-25  300"), strings.Index(out, "3650")
	if early < 0 || late < early || last < late {
		t.Errorf("the list is\n%s", out)
	}
	_, errs := certsAt(t, start, exitFailed, "list", ca, "--within", "100")
	says(t, errs, "certificates that have ended, or end within 100 days: 1 of 3", "hint: renew them")
	out, errs = certsAt(t, start.AddDate(0, 0, 101), exitFailed, "list", "--json", ca)
	says(t, errs, "certificates that have ended: 1 of 3\n")
	var l certificateLine
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&l); err != nil || !l.Ended || *l.Days != -1 || l.Kind != "client" || l.Names[0] != "early" {
		t.Errorf("%+v, %v", l, err)
	}
	out, _ = certsAt(t, start.AddDate(0, 0, 101), exitOK, "show", filepath.Join(ca, "early.pem"))
	says(t, out, "kind    client", "issuer  CN=ZODB authority", "2026-08-09T12:00:00Z (it has ended)")
	_, errs = certsAt(t, start, exitFailed, "list", filepath.Join(ca, "ca.key"))
	says(t, errs, "no certificate is in it; want PEM")
	_, errs = certsAt(t, start.AddDate(11, 0, 0), exitFailed, "client", ca, "more")
	says(t, errs, "ended at 2036-", "hint: renew it first: dirstorage certs renew")
}

func TestHostileNamesOfCertificatesStayText(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca")
	for _, args := range [][]string{{"authority", ca, "--name", "a\x1b[31m"}, {"list", ca}, {"show", ca}, {"renew", ca, "ca"}} {
		out, _ := certsAt(t, time.Now(), exitOK, args...)
		says(t, out, `a\x1b[31m`)
		if strings.Contains(out, "\x1b") {
			t.Errorf("%v: %q", args, out)
		}
	}
}

// TestTwoMakeCertificatesAtOnce: each name has one winner, whose key fits.
func TestTwoMakeCertificatesAtOnce(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca")
	both := func(args ...string) {
		var wait sync.WaitGroup
		codes, errs := make([]int, 4), make([]string, 4)
		for i := range codes {
			wait.Go(func() {
				e, _, stderr := testEnv()
				codes[i] = run(t.Context(), e, append([]string{"certs"}, args...))
				errs[i] = stderr.String()
			})
		}
		wait.Wait()
		won := 0
		for i, code := range codes {
			switch {
			case code == exitOK:
				won++
			case code == exitLocked && strings.Contains(errs[i], "hint: another dirstorage certs works there"):
			case code == exitFailed && strings.Contains(errs[i], "exists already"):
			default:
				t.Errorf("%v: status %d, %s", args, code, errs[i])
			}
		}
		if won != 1 {
			t.Errorf("%v: %d have made it, want 1", args, won)
		}
	}
	both("authority", ca)
	both("server", ca, "zodb")
	for _, name := range []string{"ca", "zodb"} {
		if _, err := certs.KeyPair(filepath.Join(ca, name+".pem"), filepath.Join(ca, name+".key"), ""); err != nil {
			t.Error(err)
		}
	}
}

func TestServerLogsTheEndsOfCertificates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, tc := range []struct {
		after time.Duration
		want  string
	}{
		{40 * day, `level=INFO msg=certificates first_use=server first_name=a first_end=2026-06-10T12:00:00Z`},
		{20 * day, `level=WARN msg="certificate ends soon; renew it, and reload" use=server name=a end=2026-05-21T12:00:00Z days=20`},
		{0, `level=ERROR msg="certificate has ended; renew it, and reload" use=server name=a`},
	} {
		var b bytes.Buffer
		at := now.Add(tc.after)
		logEnds(slog.New(slog.NewTextHandler(&b, nil)), []certs.End{{Use: certs.UseServer, Name: "a", At: at, Soon: at.Add(-30 * day)}}, now)
		says(t, b.String(), tc.want)
	}
}

// TestServerAndClientsWithTheseCertificates connects with a client of ours, and with Python's.
func TestServerAndClientsWithTheseCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	now := time.Now()
	for _, ca := range []string{"ca", "other"} {
		certsAt(t, now.AddDate(0, 0, -20), exitOK, "authority", at(ca))
		certsAt(t, now, exitOK, "client", at(ca), "zope1")
	}
	certsAt(t, now, exitOK, "server", at("ca"), "localhost", "127.0.0.1")
	certsAt(t, now.AddDate(0, 0, -10), exitOK, "client", at("ca"), "ended", "--days", "5")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), at("home"))
	s := startServeIn(t, dir, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0",
		"--tls-certificate", "ca/localhost.pem", "--tls-key", "ca/localhost.key", "--tls-authenticate", "ca/ca.pem", "home")
	address := s.await(&s.log, `listening address=(127\.\S+)`)
	s.await(&s.log, `(certificates.* first_use=server first_name=localhost)`)

	n := 0
	dial := func(status int, text, client, authority string, more ...string) {
		t.Helper()
		n++
		want(t, status, text, append([]string{"import", "zeo://" + address, at(fmt.Sprint("new", n)),
			"--tls-certificate", at(client + ".pem"), "--tls-key", at(client + ".key"), "--tls-authenticate", at(authority)}, more...)...)
	}
	dial(exitOK, "imported 15 transactions", "ca/zope1", "ca/ca.pem")
	dial(exitOK, "imported 15 transactions", "ca/zope1", "ca/ca.pem", "--tls-server-name", "localhost")
	dial(exitFailed, "hint: if that is the right server, --tls-server-name gives the name", "ca/zope1", "ca/ca.pem", "--tls-server-name", "elsewhere")
	dial(exitFailed, "hint: --tls-authenticate names the certificate of the server", "ca/zope1", "other/ca.pem")
	dial(exitFailed, "hint: the certificate of this client has ended: renew it", "ca/ended", "ca/ca.pem")
	dial(exitFailed, "hint: the server does not trust the authority of this client's certificate", "other/zope1", "ca/ca.pem")

	for _, end := range []string{".pem", ".key"} { // for Python
		if err := os.WriteFile(at("past"+end), []byte(readFile(t, at("ca/ended"+end))), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	// Renewed, the client is let in.
	certsAt(t, now, exitOK, "renew", at("ca"), "ended")
	dial(exitOK, "imported 15 transactions", "ca/ended", "ca/ca.pem")

	t.Run("Python", func(t *testing.T) {
		python, env := pythonSource()
		if python == "" {
			t.Skip("ZODB_SRC names no folder with the Python client")
		}
		c := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "certs.py"), dir, address)
		c.Env = env
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		says(t, string(out), "good root\n", "good greeted\n", "name refuses: Hostname mismatch", "authority refuses: ", "ended is refused: SSLV3_ALERT_CERTIFICATE_EXPIRED\n", "client is refused: TLSV1_ALERT_UNKNOWN_CA\n")
		if t.Failed() {
			t.Logf("%s", out)
		}
	})
	s.end()

	// A server whose certificate has ended.
	certsAt(t, now.AddDate(0, 0, -10), exitOK, "server", at("ca"), "old", "127.0.0.1", "--days", "5")
	s = startServeIn(t, dir, "--listen", "127.0.0.1:0", "--tls-certificate", "ca/old.pem", "--tls-key", "ca/old.key", "--tls-authenticate", "ca/ca.pem", "home")
	address = s.await(&s.log, `listening address=(127\.\S+)`)
	s.await(&s.log, `(certificate has ended.* use=server name=old)`)
	dial(exitFailed, "hint: the certificate of the server is good from", "ca/zope1", "ca/ca.pem")
	s.end()
}

// TestListsOfNoCertificatesHaveAHint: the path is missing, an empty directory, or something else.
func TestListsOfNoCertificatesHaveAHint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := filepath.Join(dir, "other.txt")
	if err := os.WriteFile(other, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "missing"): "hint: give the directory of an authority, or files; dirstorage certs authority " + filepath.Join(dir, "missing") + " makes",
		dir:                           "hint: give the directory of an authority, with its ca.pem; dirstorage certs authority " + dir + " makes",
		other:                         "hint: give files such as ca.pem; openssl x509",
	} {
		for _, args := range [][]string{{"list", path}, {"list", "--json", path}, {"show", path}} {
			out, errs := certsAt(t, time.Now(), exitFailed, args...)
			says(t, errs, want)
			if out != "" {
				t.Errorf("%q prints %q", args, out)
			}
		}
	}
}

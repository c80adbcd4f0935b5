package cli

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestServeShowsPagesToThoseWhoKnowTheToken over the listener of the real server, with the token in
// a file, and a client certificate in its place with http-tls.
func TestServeShowsPagesToThoseWhoKnowTheToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, token := filepath.Join(dir, "home"), filepath.Join(dir, "token")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fillHome(t, home)
	if err := os.WriteFile(token, []byte("0123456789abcdef0123\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"certs", "authority", "ca"}, {"certs", "server", "ca", "127.0.0.1"}, {"certs", "client", "ca", "anna"}} {
		c := program(t, args...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	trusted := x509.NewCertPool()
	pem, err := os.ReadFile(filepath.Join(dir, "ca", "ca.pem"))
	if err != nil || !trusted.AppendCertsFromPEM(pem) {
		t.Fatal("no authority", err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca", "anna.pem"), filepath.Join(dir, "ca", "anna.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, withTLS := range []bool{false, true} {
		args := []string{"--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--web"}
		scheme := "http://"
		if withTLS {
			scheme = "https://"
			args = append(args, "--http-tls", "--tls-certificate", "ca/127.0.0.1.pem", "--tls-key", "ca/127.0.0.1.key", "--tls-authenticate", "ca/ca.pem")
		} else {
			args = append(args, "--web-token-file", token)
		}
		s := startServeIn(t, dir, append(args, home)...)
		address := scheme + s.await(&s.log, `listening for probes and metrics address=(\S+)`)
		s.await(&s.out, "pages for a browser: "+regexp.QuoteMeta(address)+"/web/\n")
		ask := func(path, bearer string, pairs ...tls.Certificate) (int, string) {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), "GET", address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if bearer != "" {
				r.Header.Set("Authorization", "Bearer "+bearer)
			}
			c := http.Client{
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
				Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted, Certificates: pairs}},
			}
			answer, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			b, err := io.ReadAll(answer.Body)
			if err != nil {
				t.Fatal(err)
			}
			return answer.StatusCode, string(b)
		}
		hometest.Eventually(t, "the server is ready", func() bool { code, _ := ask("/ready", ""); return code == http.StatusOK })
		if code, body := ask("/web/", ""); code != http.StatusSeeOther {
			t.Errorf("TLS %v, unknown: %d %s", withTLS, code, body)
		}
		if withTLS {
			if code, body := ask("/web/", "", pair); code != http.StatusOK || !strings.Contains(body, home) {
				t.Errorf("with a certificate: %d %s", code, body)
			}
			if code, _ := ask("/web/", "0123456789abcdef0123"); code != http.StatusUnauthorized {
				t.Errorf("a token that is not set: %d", code)
			}
			if out, err := program(t, "health", address).CombinedOutput(); err != nil || !strings.Contains(string(out), `"ready":true`) {
				t.Errorf("health: %v\n%s", err, out)
			}
			out, err := program(t, "status", home).CombinedOutput()
			if want := regexp.MustCompile(`(?m)^certificates: +the \S+ certificate .* ends at .*, in \d+ days\n +the \S+ certificate .* ends at `); err != nil || !want.Match(out) {
				t.Errorf("status has no ends of certificates: %v\n%s", err, out)
			}
			s.end()
			continue
		}
		if code, body := ask("/web/", "0123456789abcdef0123"); code != http.StatusOK || !strings.Contains(body, home) || !strings.Contains(body, "Everything is in order") {
			t.Errorf("with the token: %d %s", code, body)
		}
		if code, body := ask("/web/clients", "0123456789abcdef0123"); code != http.StatusOK || !strings.Contains(body, "No client is connected") {
			t.Errorf("clients: %d %s", code, body)
		}
		if _, body := ask("/", ""); !strings.Contains(body, "/web/     pages for people") {
			t.Errorf("the list has %s", body)
		}
		s.end()
	}
}

func TestTokenThatOthersReadIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, token := filepath.Join(dir, "home"), filepath.Join(dir, "token")
	for _, tc := range []struct {
		name, text, want string
		mode             os.FileMode
	}{
		{"others", "0123456789abcdef0123\n", "others than its owner may read it (mode 0644)", 0o644},
		{"its group", "0123456789abcdef0123\n", "(mode 0640)", 0o640},
		{"short", "0123456789abcde\n", "has 15 characters; want 16", 0o600},
		{"empty", "", "has 0 characters", 0o600},
	} {
		if err := os.WriteFile(token, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(token, tc.mode); err != nil {
			t.Fatal(err)
		}
		e, _, stderr := testEnv()
		if got := run(t.Context(), e, []string{"serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--web", "--web-token-file", token, home}); got != exitUsage {
			t.Errorf("%s: status %d", tc.name, got)
		}
		if !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: no %q in %s", tc.name, tc.want, stderr)
		}
	}
}

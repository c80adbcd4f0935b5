package cli

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMetricsKnowARepositoryOutsideHome: backups and verifications there are in the metrics.
func TestMetricsKnowARepositoryOutsideHome(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, repo := filepath.Join(dir, "home"), filepath.Join(dir, "repo")
	for _, args := range [][]string{{"create", home}, {"demo-fill"}, {"backup", "full", home, repo}, {"backup", "verify", repo}} {
		if args[0] == "demo-fill" {
			fillHome(t, home)
			continue
		}
		if out, err := program(t, args...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	known := func(name string, s *serverProcess) bool {
		t.Helper()
		web := s.await(&s.log, `listening for probes and metrics address=(127\.0\.0\.1:\d+)`)
		s.await(&s.out, "Stop it with")
		r, err := http.Get("http://" + web + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`(?m)^` + name + `\{storage="1"\} [1-9]`).Match(b)
	}
	const verified, backedUp = "dirstorage_last_verified_timestamp_seconds", "dirstorage_last_backup_tid"
	for _, tc := range []struct {
		repo               string
		forgets            bool // HOME
		verified, backedUp bool
		says               string
	}{
		{repo: repo, verified: true, backedUp: true},
		{backedUp: true},
		{repo: filepath.Join(dir, "typo"), backedUp: true, says: "the last verification is not known"},
		{repo: repo, forgets: true, verified: true, backedUp: true},
	} {
		if tc.forgets {
			if err := os.Remove(filepath.Join(home, "misc", "backed-up")); err != nil {
				t.Fatal(err)
			}
		}
		s := startServe(t, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--backup-repository", tc.repo, home)
		if got := known(verified, s); got != tc.verified {
			t.Errorf("repository %q: a verification is known: %t", tc.repo, got)
		}
		if got := known(backedUp, s); got != tc.backedUp {
			t.Errorf("repository %q: a backup is known: %t", tc.repo, got)
		}
		s.end()
		if text := s.log.String(); !strings.Contains(text, tc.says) || tc.says == "" && strings.Contains(text, "is not known") {
			t.Errorf("repository %q: the log is\n%s", tc.repo, text)
		}
	}
}

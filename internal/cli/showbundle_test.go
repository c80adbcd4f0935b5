package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestShowListsABundle: show lists the members that tar unpacks of a bundle, and marks those that a pack has
// removed.
func TestShowListsABundle(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{Format: "bundled", Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "3600"}})
	s := enginetest.Open(t, home, engine.Options{})
	for range 3 {
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: []byte("\x80\x03cm\nC\n.\x80\x03N.")})
	}
	packed, err := s.Pack(t.Context(), zodb.PackOptions{})
	if err == nil {
		err = s.Close()
	}
	if err != nil || packed.Revisions != 2 {
		t.Fatal(packed, err)
	}
	bundles, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.tar.zst"))
	if err != nil || len(bundles) == 0 {
		t.Fatal(bundles, err)
	}
	gone, members := 0, 0
	for _, name := range bundles {
		e, stdout, stderr := testEnv()
		if got := run(t.Context(), e, []string{"show", "--json", name}); got != exitOK {
			t.Fatalf("status %d, %s", got, stderr)
		}
		var b shownBundle
		if err := json.Unmarshal(stdout.Bytes(), &b); err != nil {
			t.Fatal(err)
		}
		members += len(b.Members)
		for _, m := range b.Members {
			if m.Gone {
				gone++
			}
		}
		e, stdout, stderr = testEnv()
		if got := run(t.Context(), e, []string{"show", name}); got != exitOK || strings.Count(stdout.String(), "\nmember:") != len(b.Members) {
			t.Errorf("status %d, %s\n%s", got, stderr, stdout)
		}
		if !have("tar", "zstd") {
			continue
		}
		dir := t.TempDir()
		if out, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "--zstd", "-xf", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, m := range b.Members {
			if info, err := os.Stat(filepath.Join(dir, m.Name)); err != nil || info.Size() != int64(m.Bytes) {
				t.Errorf("%s: %v", m.Name, err)
			}
			e, _, stderr := testEnv()
			if got := run(t.Context(), e, []string{"show", filepath.Join(dir, m.Name)}); got != exitOK {
				t.Errorf("%s: status %d, %s", m.Name, got, stderr)
			}
		}
	}
	if gone < 2 || members < 6 {
		t.Errorf("%d of %d members are gone", gone, members)
	}
	lists, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*.gone"))
	if err != nil || len(lists) == 0 {
		t.Fatal(lists, err)
	}
	for _, name := range lists {
		e, stdout, stderr := testEnv()
		if got := run(t.Context(), e, []string{"show", name}); got != exitOK || !strings.Contains(stdout.String(), "by a pack") {
			t.Errorf("status %d, %s\n%s", got, stderr, stdout)
		}
	}
	// The end of it is missing: that is damage.
	b, err := os.ReadFile(bundles[0])
	if err == nil {
		err = os.WriteFile(bundles[0], b[:len(b)-1], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	e, _, _ := testEnv()
	if got := run(t.Context(), e, []string{"show", bundles[0]}); got != exitDamage {
		t.Errorf("a bundle without its end: status %d", got)
	}
}

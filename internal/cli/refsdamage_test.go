package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestRefsNamesTheObjectsOfADamagedFrame: the error of the frame does not.
func TestRefsNamesTheObjectsOfADamagedFrame(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	names, err := filepath.Glob(filepath.Join(home, "A/bundles/*.tar.zst"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[40] ^= 0xFF
		if err := os.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, _, stderr := command(t.Context(), "refs", "--write-index", home)
	if named := regexp.MustCompile(`object [0-9A-F]{16}: .*A/bundles/`); code != exitDamage || !named.MatchString(stderr.String()) {
		t.Errorf("status %d, %s", code, stderr)
	}
}

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestAnImportThatGoesOnWarnsOnce, although it opens HOME, loads, and opens it again.
func TestAnImportThatGoesOnWarnsOnce(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	source := hometest.FileStorage(t, "undo.fs")
	all, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(t.TempDir(), "half.fs")
	if err := os.WriteFile(half, all[:len(all)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, exitOK, "imported", "import", half, home)
	name := filepath.Join(home, "config", "settings")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(text, "\n[else]\nwhatever: 1\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t.Context(), "import", source, home)
	if n := strings.Count(stderr.String(), "[else]"); code != exitOK || n != 1 {
		t.Errorf("status %d, %d warnings of a setting, want one\n%s%s", code, n, stdout, stderr)
	}
}

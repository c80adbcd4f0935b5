package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestSalvageKnowsItsArgumentsTheOtherWayRound: HOME comes last.
func TestSalvageKnowsItsArgumentsTheOtherWayRound(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	want(t, exitOK, "imported", "import", hometest.FileStorage(t, "undo.fs"), home)
	for name, dir := range map[string]string{"an empty directory": t.TempDir(), "none": home + ".new"} {
		code, _, stderr := command(t.Context(), "salvage", home, dir)
		if code != exitNoStorage || !strings.Contains(stderr.String(), "\nhint: the storage comes last: dirstorage salvage DIR "+home+",") {
			t.Errorf("%s: status %d, %s", name, code, stderr)
		}
	}
}

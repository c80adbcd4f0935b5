package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStatusOfAStorageThatCannotBeOpened has the status of damage, and tells the records of jobs all the same.
func TestStatusOfAStorageThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	t.Run("damage", func(t *testing.T) {
		t.Parallel()
		home := importedHome(t, "--format", "chunky")
		want(t, exitOK, "full backup", "backup", "full", home)
		marks, err := filepath.Glob(filepath.Join(home, "A/x*/serial"))
		if err != nil || len(marks) != 1 {
			t.Fatal(marks, err)
		}
		if err := errors.Join(os.Chmod(marks[0], 0o600), os.WriteFile(marks[0], []byte("rubbish"), 0o600)); err != nil {
			t.Fatal(err)
		}
		codes, st, text := toldBy(t, exitDamage, home)
		if codes[0] != damagedCode || st.Unopened == "" || st.Backup.Time == nil || !strings.HasPrefix(text, "problems:") || !strings.Contains(text, "ERROR:             it cannot be opened: ") || !strings.Contains(text, "remedy: dirstorage check "+home) || !strings.Contains(text, "\nlast backup: ") || !strings.Contains(text, "\nlast check: ") || strings.Contains(text, "last transaction") {
			t.Errorf("%q\n%s", codes, text)
		}
	})
	t.Run("damage on record", func(t *testing.T) {
		t.Parallel()
		home := importedHome(t, "--format", "chunky")
		flip(t, filepath.Join(home, "A/o000/000/000/000/0000.03*"))
		want(t, exitDamage, "", "check", home)
		if err := os.WriteFile(filepath.Join(home, "config/settings"), []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		if codes, _, text := toldBy(t, exitDamage, home); strings.Join(codes, " ") != "unopened damaged" || !strings.Contains(text, "the check of 20") {
			t.Errorf("%q\n%s", codes, text)
		}
	})
	t.Run("no damage", func(t *testing.T) {
		t.Parallel()
		home := importedHome(t)
		if err := os.WriteFile(filepath.Join(home, "config/settings"), []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, stderr := command(t.Context(), "status", home); code == exitOK || code == exitDamage || out.String() != "" || !strings.Contains(stderr.String(), "config/settings") {
			t.Errorf("status %d, %s%s", code, out, stderr)
		}
	})
}

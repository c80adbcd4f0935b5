package cli

import (
	"errors"
	"net"
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
	t.Run("without A", func(t *testing.T) {
		t.Parallel()
		home := importedHome(t)
		if err := os.Rename(filepath.Join(home, "A"), filepath.Join(home, "elsewhere")); err != nil {
			t.Fatal(err)
		}
		if codes, _, text := toldBy(t, exitDamage, home); codes[0] != damagedCode || !strings.Contains(text, "it cannot be opened: A is missing") || !strings.Contains(text, "see that its disk is mounted") {
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

// TestStatusTellsDamagedBundles: damage that the open of status itself meets is not “problems: none”, also if
// nobody has checked yet.
func TestStatusTellsDamagedBundles(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		damage func(path string) error
		told   string
	}{
		{"cut", func(path string) error { return os.Truncate(path, 500) }, ".tar.zst is damaged, and is left as it is"},
		{"end", func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("????"), info.Size()-40)
			return errors.Join(err, f.Close())
		}, ".tar.zst is damaged, and is left as it is"},
		{"missing", os.Remove, "bundles are missing in A/bundles, or contradict each other"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			home := importedHome(t)
			bundles, err := filepath.Glob(filepath.Join(home, "A/bundles/*.tar.zst"))
			if err != nil || len(bundles) == 0 {
				t.Fatal(bundles, err)
			}
			if err := errors.Join(os.Chmod(bundles[0], 0o600), tc.damage(bundles[0])); err != nil {
				t.Fatal(err)
			}
			codes, _, text := toldBy(t, exitDamage, home)
			if strings.Join(codes, " ") != damagedCode || !strings.Contains(text, tc.told) {
				t.Errorf("%q\n%s", codes, text)
			}
		})
	}
}

// TestStatusOfAServerThatDoesNotAnswer tells that first, and the records all the same.
func TestStatusOfAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("status waits 10 seconds for an answer")
	}
	home := importedHome(t)
	want(t, exitOK, "full backup", "backup", "full", home)
	want(t, exitOK, "", "check", home)
	l, err := net.Listen("unix", filepath.Join(home, "misc/control"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts
	codes, st, text := toldBy(t, exitProblem, home)
	if codes[0] != "no_answer" || !st.Running || st.Backup.Time == nil || !strings.HasPrefix(text, "problems:") || !strings.Contains(text, "does not answer") || !strings.Contains(st.Unopened, "did not answer for 10s") || !strings.Contains(text, "\nlast backup: ") || !strings.Contains(text, "\nlast check: ") {
		t.Errorf("%q\n%s", codes, text)
	}
}

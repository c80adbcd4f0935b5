package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestAHomeThatMayNotBeMadeHasItsOwnAdvice: it belongs to nobody yet, so none is told to run as its owner.
func TestAHomeThatMayNotBeMadeHasItsOwnAdvice(t *testing.T) {
	t.Parallel()
	self, as := asSomebodyElse(t)
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "home")
	for _, args := range [][]string{{"create", home}, {"serve", "--listen", "127.0.0.1:0", home}, {"import", hometest.FileStorage(t, "undo.fs"), home}} {
		c := exec.CommandContext(t.Context(), self, args...)
		c.Env, c.SysProcAttr = program(t).Env, as
		out, err := c.CombinedOutput()
		if text := string(out); err == nil || !strings.Contains(text, "permission denied\nhint: this user may not make a directory there: ") || !strings.Contains(text, "install -d -o ") {
			t.Errorf("%q: %v\n%s", args, err, text)
		}
	}
}

// TestALockedStorageHasAdvice: each command that wants it alone gives advice.
func TestALockedStorageHasAdvice(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	enginetest.Open(t, home, engine.Options{})
	for _, args := range [][]string{{"recover", home}, {"import", hometest.FileStorage(t, "undo.fs"), home}, {"serve", "--listen", "127.0.0.1:0", home}} {
		code, _, stderr := command(t.Context(), args...)
		if text := stderr.String(); code != exitLocked || !strings.Contains(text, "\nhint: one process at a time has a storage open for writing: end that one") || (args[0] == "serve") != strings.Contains(text, "--lock-wait") {
			t.Errorf("%q: status %d, %s", args, code, text)
		}
	}
}

// TestStatusOfACrashedStorageMakesUpNoSize of a log that it has not measured.
func TestStatusOfACrashedStorageMakesUpNoSize(t *testing.T) {
	t.Parallel()
	home := importedHome(t)
	st := homeStatus{}
	st.Home, st.UnflushedTransactions, st.UnflushedFiles = home, 212, 641
	rows := func() string {
		var rows rowList
		st.behindRows(&rows, time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC))
		for _, r := range rows {
			if r.name == "to be flushed" {
				return r.text
			}
		}
		return ""
	}
	if got := rows(); got != "212 transactions, 641 files" {
		t.Errorf("not measured: %q", got)
	}
	st.JournalBytes = 2048
	if got := rows(); got != "212 transactions, 641 files; journal 2.0 KiB" {
		t.Errorf("measured: %q", got)
	}
	st.UnflushedTransactions, st.UnflushedFiles, st.JournalBytes = 0, 0, 0
	if got := rows(); got != "0 transactions, 0 files; journal 0 B" {
		t.Errorf("empty: %q", got)
	}
}

// TestAnAddressThatIsNotThereHasAdvice.
func TestAnAddressThatIsNotThereHasAdvice(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1:0": "no network interface here has that address", // of a network for documents
		filepath.Join(t.TempDir(), "nowhere", "x.sock"): "the directory of a Unix socket has to be there",
	} {
		home := filepath.Join(t.TempDir(), "home")
		code, _, stderr := command(t.Context(), "serve", "--listen", address, home)
		if code != exitFailed || !strings.Contains(stderr.String(), "\nhint: "+want) {
			t.Errorf("%s: status %d, %s", address, code, stderr)
		}
	}
}

// TestAStorageIsNoSourceOfAnImport: the advice is the command that copies one.
func TestAStorageIsNoSourceOfAnImport(t *testing.T) {
	t.Parallel()
	home, made := importedHome(t), filepath.Join(t.TempDir(), "new")
	code, _, stderr := command(t.Context(), "import", home, made)
	if code != exitFailed || !strings.Contains(stderr.String(), "\nhint: it is a storage: dirstorage convert "+home+" "+made+" copies one") {
		t.Errorf("status %d, %s", code, stderr)
	}
}

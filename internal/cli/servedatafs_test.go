package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestServeMakesNothingBesideADataFS: a container that gets another image, and keeps its volume,
// must not give clients an empty database.
func TestServeMakesNothingBesideADataFS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"filestorage", "blobstorage"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	fs := filepath.Join(dir, "filestorage", "Data.fs")
	if err := os.WriteFile(fs, []byte("FS30 and transactions"), 0o600); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(dir, "zodb")
	e, _, stderr := testEnv()
	if got := run(t.Context(), e, []string{"serve", "--listen", "127.0.0.1:0", home}); got != exitNoStorage {
		t.Errorf("status %d, want %d", got, exitNoStorage)
	}
	for _, want := range []string{"beside " + fs, "hint: ", "dirstorage import --blobs ", "dirstorage create " + home} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in %s", want, stderr)
		}
	}
	if _, err := os.Lstat(home); err == nil {
		t.Error("it was made all the same")
	}
}

package cli

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReadOnlyServerMakesNoStorage: a wrong name, or a missing volume, would be served as an empty storage.
func TestReadOnlyServerMakesNoStorage(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for _, home := range []string{filepath.Join(t.TempDir(), "nowhere"), empty} {
		want(t, exitNoStorage, "is not made", "serve", "--read-only", "--listen", "127.0.0.1:0", home)
		if list, err := os.ReadDir(home); len(list) > 0 {
			t.Errorf("%s: %v, %v", home, list, err)
		}
	}
}

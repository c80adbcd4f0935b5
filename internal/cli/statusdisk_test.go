package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
)

// TestStatusTellsTheSizeOfBundles, and not that of the files that another format would have.
func TestStatusTellsTheSizeOfBundles(t *testing.T) {
	t.Parallel()
	for format, ofFiles := range map[layout.Format]bool{layout.Bundled: false, layout.Chunky: true} {
		home := filepath.Join(t.TempDir(), "home")
		if out, err := program(t, "import", "--format", format.String(), hometest.FileStorage(t, "undo.fs"), home).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		out, err := program(t, "status", home).CombinedOutput()
		m := regexp.MustCompile(`(?m)^on the disk: +about ([0-9.]+) KiB, (and files that packs have put aside|with files put aside by packs); --count measures it$`).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%v\n%s", err, out)
		}
		said, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		if ofFiles {
			if said < 53*4 { // revisions
				t.Errorf("%s: about %v KiB", format, said)
			}
			continue
		}
		size := int64(0)
		names, err := filepath.Glob(filepath.Join(home, "A", "bundles", "*"))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if kib := float64(size) / 1024; said < kib-1 || said > kib+1 {
			t.Errorf("about %v KiB, and bundles have %v", said, kib)
		}
	}
}

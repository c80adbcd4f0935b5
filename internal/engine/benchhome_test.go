package engine

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
)

// benchHome is where the benchmarks make their HOMEs, to measure a file system.
var benchHome = flag.String("home", "", "directory for the HOMEs of the benchmarks; empty = a temporary one")

// benchKeep leaves them there: to remove a million files takes longer than to make them.
var benchKeep = flag.Bool("keep", false, "leave the HOMEs of the benchmarks where they are")

// benchFormat is their format.
var benchFormat = flag.String("format", string(layout.Bundled), "format of the HOMEs of the benchmarks")

// newBenchStorageWith makes a storage for a benchmark, and returns its HOME as well.
func newBenchStorageWith(b *testing.B, set map[string]string, o Options) (*Storage, string) {
	b.Helper()
	dir := *benchHome
	if dir == "" {
		dir = b.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "bench")
	if err != nil {
		b.Fatal(err)
	}
	if !*benchKeep {
		b.Cleanup(func() { os.RemoveAll(dir) })
	}
	home := filepath.Join(dir, "home")
	if err := Create(home, CreateOptions{Format: *benchFormat, Set: set}); err != nil {
		b.Fatal(err)
	}
	s, err := Open(context.Background(), home, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s, home
}

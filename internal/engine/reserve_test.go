package engine_test

import (
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestReserveIsThereAfterAMoment: also after an open that is over at once, and from the beginning
// of a load without the log.
func TestReserveIsThereAfterAMoment(t *testing.T) {
	t.Parallel()
	o := engine.Options{Reserve: 64 << 10}
	for _, format := range []layout.Format{layout.Bundled, layout.Chunky} {
		for range 5 {
			home := filepath.Join(t.TempDir(), "home")
			if err := engine.Create(home, engine.CreateOptions{Format: format.String()}); err != nil {
				t.Fatal(err)
			}
			f, err := vfs.OS(home)
			if err != nil {
				t.Fatal(err)
			}
			if format == layout.Bundled {
				l, err := engine.OpenLoader(t.Context(), home, 0, o)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.Stat(space.ReserveFile); err != nil {
					t.Errorf("of a loader: %v", err)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				if err := f.Remove(space.ReserveFile); err != nil {
					t.Fatal(err)
				}
			}
			s, err := engine.Open(t.Context(), home, o)
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			if info, err := f.Stat(space.ReserveFile); err != nil || info.Size < 64<<10 {
				t.Fatalf("%s: %d bytes, %v", format, info.Size, err)
			}
		}
	}
}

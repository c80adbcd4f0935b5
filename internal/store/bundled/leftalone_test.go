package bundled_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestMergesGoOnAroundDamage: a bundle that is damaged, in a frame or in its index, is told once and
// named, and stays as it is. The others are merged, and read as before.
func TestMergesGoOnAroundDamage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		at   func(size int64) int64
	}{
		{"frame", func(int64) int64 { return 40 }},
		{"index", func(size int64) int64 { return size - bundle.FooterSize - 3*20 - 10 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, disk, _, txns := fewOpen(t, 17, 100)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			const bad = 8
			path := "A/bundles/" + txns[bad].Tid.String() + "-" + txns[bad].Tid.String() + ".0.tar.zst"
			info, err := disk.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := disk.OpenWrite(path)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1)
			_, err = f.ReadAt(b, tc.at(info.Size))
			b[0] ^= 0x55
			_, werr := f.WriteAt(b, tc.at(info.Size))
			if err := errors.Join(err, werr, f.Close()); err != nil {
				t.Fatal(err)
			}
			told := 0
			s, err = bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, Warn: func(text string, err error) {
				if told++; !strings.Contains(text, "is damaged") || !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), path) {
					t.Errorf("told: %s, %v", text, err)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			if _, empty, err := s.Thaw(1); err != nil || !empty {
				t.Fatal(err)
			}
			if err := tendAll(s); err != nil {
				t.Fatal(err)
			}
			if got := s.Damaged(); !slices.Equal(got, []string{path}) || told != 1 {
				t.Errorf("damaged are %v; told %d times", got, told)
			}
			var names []string
			for e, err := range disk.List("A/bundles") {
				if err != nil {
					t.Fatal(err)
				}
				names = append(names, e.Name)
			}
			if len(names) != 5 || !slices.Contains(names, strings.TrimPrefix(path, "A/bundles/")) { // two of 4 before it, two behind it
				t.Errorf("bundles: %v", names)
			}
			if err := errors.Join(readAll(s, txns[:bad]), readAll(s, txns[bad+1:])); err != nil {
				t.Error(err)
			}
			if _, err := s.Load(zodb.OID(bad + 1)); err != nil && !errors.Is(err, zodb.ErrCorrupt) || err == nil && tc.name == "frame" {
				t.Errorf("the damaged one: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

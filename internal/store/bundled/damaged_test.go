package bundled_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// damagedStore is a closed store of four bundles, and a gone list of the second one.
func damagedStore(t *testing.T) (h *history, disk *crashfs.FS, paths []string) {
	t.Helper()
	s, disk := newStore(t)
	h = newHistory(s, 4)
	if err := errors.Join(h.put(store.A), h.put(store.A), h.put(store.A), h.put(store.A), h.pack(), s.Close()); err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for e, err := range disk.List("A/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		names["A/bundles/"+e.Name] = true
	}
	return h, disk, slices.Sorted(maps.Keys(names))
}

func change(t *testing.T, disk vfs.FS, path string, f func(b []byte) []byte) {
	t.Helper()
	b, err := disk.ReadFile(path)
	if err == nil {
		err = vfs.WriteFileAtomic(disk, "aside", path, f(b), vfs.SyncOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(at int) func(b []byte) []byte {
	return func(b []byte) []byte {
		b[(at+len(b))%len(b)] ^= 1
		return b
	}
}

// TestADamagedStoreCanBeRead: with a damaged file a store is not opened for writing, and the error
// names the file and the remedy. A reader gets at the rest, and never at anything wrong.
func TestADamagedStoreCanBeRead(t *testing.T) {
	t.Parallel()
	type result int
	const (
		everything result = iota // can be read
		some
	)
	for _, tc := range []struct {
		name   string
		want   result
		damage func(t *testing.T, disk vfs.FS, bundles, lists []string) string
	}{
		{"footer", everything, func(t *testing.T, disk vfs.FS, b, _ []string) string {
			change(t, disk, b[1], flip(-100))
			return b[1]
		}},
		{"footer of the last one", everything, func(t *testing.T, disk vfs.FS, b, _ []string) string {
			change(t, disk, b[len(b)-1], flip(-1))
			return b[len(b)-1]
		}},
		{"footer cut off", everything, func(t *testing.T, disk vfs.FS, b, _ []string) string {
			change(t, disk, b[1], func(b []byte) []byte { return b[:len(b)-40] })
			return b[1]
		}},
		{"fences", everything, func(t *testing.T, disk vfs.FS, b, _ []string) string {
			change(t, disk, b[0], flip(-bundle.FooterSize-3))
			return b[0]
		}},
		{"footer and a frame", some, func(t *testing.T, disk vfs.FS, b, _ []string) string {
			change(t, disk, b[1], flip(-100))
			change(t, disk, b[1], flip(40))
			return b[1]
		}},
		{"half a bundle", some, func(t *testing.T, disk vfs.FS, b, _ []string) string {
			change(t, disk, b[2], func(b []byte) []byte { return b[:len(b)/4] })
			return b[2]
		}},
		{"list of what is gone", everything, func(t *testing.T, disk vfs.FS, _, lists []string) string {
			change(t, disk, lists[0], flip(20))
			return lists[0]
		}},
		{"overlapping ranges", some, func(t *testing.T, disk vfs.FS, b, _ []string) string {
			x, _, _ := bundle.ParseName(strings.TrimPrefix(b[1], "A/bundles/"))
			y, _, _ := bundle.ParseName(strings.TrimPrefix(b[2], "A/bundles/"))
			to := "A/bundles/" + bundle.Name{Min: x.Max, Max: y.Min}.String()
			content, err := disk.ReadFile(b[1])
			if err == nil {
				err = vfs.WriteFileAtomic(disk, "aside", to, content, vfs.SyncOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
			return "A/bundles"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, disk, paths := damagedStore(t)
			var bundles, lists []string
			for _, p := range paths {
				if strings.HasSuffix(p, ".gone") {
					lists = append(lists, p)
				} else {
					bundles = append(bundles, p)
				}
			}
			if len(bundles) < 4 || len(lists) == 0 {
				t.Fatal(paths)
			}
			path := tc.damage(t, disk, bundles, lists)
			_, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now})
			if err == nil || !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "salvage DIR HOME") {
				t.Errorf("error of an open for writing: %v", err)
			}
			warned := 0
			s, err := bundled.New(bundled.Options{FS: disk, Beside: true, Clock: time.Now, Warn: func(string, error) { warned++ }})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if got := s.Damaged(); !slices.Equal(got, []string{path}) {
				t.Errorf("damaged are %v, want %s", got, path)
			}
			right, wrong := 0, 0
			for tid, x := range h.txns {
				for _, oid := range x.OIDs {
					n := layout.Revision(oid, tid)
					b, place, err := s.Get(n)
					switch {
					case err == nil:
						if err := isWritten(b, place, oid, tid); err != nil {
							t.Error(err)
						}
						right++
					case h.there(n):
						if err := onlyDamage(err); err != nil {
							t.Error(err)
						}
						wrong++
					}
				}
			}
			for oid := range zodb.OID(h.oids) {
				r, err := s.Load(oid)
				switch want := h.current(oid); {
				case err == nil && r.Serial != want && tc.name != "list of what is gone":
					t.Errorf("%s is at %s, want %s", oid, r.Serial, want)
				case err == nil:
					if err := isWritten(r.Data, r.Place, oid, r.Serial); err != nil {
						t.Error(err)
					}
				case want != 0:
					if err := onlyDamage(err); err != nil {
						t.Error(err)
					}
					wrong++
				}
			}
			if right == 0 || tc.want == everything && wrong > 0 || tc.want == some && wrong == 0 || warned == 0 {
				t.Errorf("%d are read, %d are not; %d warnings", right, wrong, warned)
			}
		})
	}
}

package classic_test

import (
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestFilesSinceGiveADamagedPointer: whether the transactions tell what changed, or the names do
// because a pack took some of them. One damaged file does not keep the others from being copied.
func TestFilesSinceGiveADamagedPointer(t *testing.T) {
	t.Parallel()
	for _, byName := range []bool{false, true} {
		disk := crashfs.New(1)
		if err := makeEmpty(disk, layout.Chunky); err != nil {
			t.Fatal(err)
		}
		s, err := open(disk, classic.Options{Format: layout.Chunky})
		if err != nil {
			t.Fatal(err)
		}
		all := storetest.Chain([]zodb.OID{1}, []zodb.OID{2}, []zodb.OID{3}, []zodb.OID{4})
		tid := func(i int) zodb.TID { return all[i].TID() }
		if err := s.Put(store.A, all, new(store.Progress)); err != nil {
			t.Fatal(err)
		}
		if err := s.SetLast(store.A, tid(3)); err != nil {
			t.Fatal(err)
		}
		if byName {
			if err := s.SetPacked(tid(2)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Remove(0, store.Removal{Transactions: []zodb.TID{tid(2)}}); err != nil {
				t.Fatal(err)
			}
		}
		damaged := "A/" + layout.Chunky.Path(layout.Pointer(4))
		if err := disk.Remove(damaged); err != nil {
			t.Fatal(err)
		}
		f, err := disk.Create(damaged)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		var names []string
		for name, err := range s.FilesSince(t.Context(), tid(0), nil, nil) {
			if err != nil {
				t.Fatalf("by name %t: %v", byName, err)
			}
			names = append(names, name)
		}
		for _, want := range []string{damaged, "A/" + layout.Chunky.Path(layout.Revision(2, tid(1))), "A/" + layout.Chunky.Path(layout.XSerial)} {
			if !slices.Contains(names, want) {
				t.Errorf("by name %t: %s is not among %q", byName, want, names)
			}
		}
	}
}

package bundled_test

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// slowListing lists as a system may: it has one half of the changes that come while it lists, or the
// other.
type slowListing struct {
	vfs.FS
	within func() // once, when the first half was listed
}

func (f *slowListing) List(dir string) iter.Seq2[vfs.Entry, error] {
	if f.within == nil || !strings.HasPrefix(dir, "A/") {
		return f.FS.List(dir)
	}
	within := f.within
	f.within = nil
	return func(yield func(vfs.Entry, error) bool) {
		var all []vfs.Entry
		for e, err := range f.FS.List(dir) {
			if err != nil {
				yield(e, err)
				return
			}
			all = append(all, e)
		}
		slices.SortFunc(all, func(a, b vfs.Entry) int { return strings.Compare(a.Name, b.Name) })
		for i, e := range all {
			if i == len(all)/2 {
				within()
			}
			if _, err := f.FS.Stat(dir + "/" + e.Name); i >= len(all)/2 && err != nil {
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// TestListingBesideAMerge: a reader whose listing of the directory has neither the last sources of
// a merge nor its result does not take that for damage.
func TestListingBesideAMerge(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{1, 2, 3})
	s, disk := newStore(t)
	put := func(i int) {
		t.Helper()
		if err := errors.Join(s.Put(store.A, all[i:i+1], new(store.Progress)), s.SetLast(store.A, all[i].TID())); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		put(i)
	}
	for empty := false; !empty; {
		var err error
		if _, empty, err = s.Thaw(100); err != nil {
			t.Fatal(err)
		}
	}
	listing := &slowListing{FS: disk}
	reader, err := bundled.New(bundled.Options{FS: listing, Beside: true, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Load(1); err != nil {
		t.Fatal(err)
	}
	put(3)
	merged := false
	listing.within = func() {
		for range 10 {
			_, n, err := tendOnce(t, s, store.Tending{})
			if err != nil {
				t.Fatal(err)
			}
			merged = merged || n.Files > 0
		}
	}
	for oid := zodb.OID(1); oid <= 3; oid++ {
		if r, err := reader.Load(oid); err != nil || r.Serial != all[3].TID() {
			t.Errorf("object %s is of %s, %v; want %s", oid, r.Serial, err, all[3].TID())
		}
	}
	if !merged || listing.within != nil {
		t.Error("nothing was merged while the directory was listed")
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
}

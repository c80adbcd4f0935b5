package bundled_test

import (
	"errors"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
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

// putEach returns a function that puts one of some transactions, as a flush of its own.
func putEach[T store.Transaction](t *testing.T, s *bundled.Store, all []T) func(i int) {
	return func(i int) {
		t.Helper()
		if err := errors.Join(s.Put(store.A, []store.Transaction{all[i]}, new(store.Progress)), s.SetLast(store.A, all[i].TID())); err != nil {
			t.Fatal(err)
		}
	}
}

// TestListingBesideAMerge: a reader whose listing of the directory has neither the last sources of
// a merge nor its result does not take that for damage.
func TestListingBesideAMerge(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{1, 2, 3})
	s, disk := newStore(t)
	put := putEach(t, s, all)
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

// withoutLists leaves the gone lists out of so many listings, as one may that is made while a list
// takes the place of another one.
type withoutLists struct {
	vfs.FS
	n int
}

func (f *withoutLists) List(dir string) iter.Seq2[vfs.Entry, error] {
	if f.n == 0 || dir != "A/bundles" {
		return f.FS.List(dir)
	}
	f.n--
	return func(yield func(vfs.Entry, error) bool) {
		for e, err := range f.FS.List(dir) {
			if !strings.HasSuffix(e.Name, ".gone") && !yield(e, err) {
				return
			}
		}
	}
}

// TestListingBesideAPack: the removed members do not come back for a reader whose listing of the
// directory has no list of it, when it opens the store and later.
func TestListingBesideAPack(t *testing.T) {
	t.Parallel()
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3}, []zodb.OID{1, 3}, []zodb.OID{1, 2, 3})
	s, disk := newStore(t)
	put := putEach(t, s, all)
	pack := func(oid zodb.OID, i int) {
		t.Helper()
		_, err := s.Remove(7, store.Removal{Revisions: []store.Revisions{{OID: oid, TIDs: []zodb.TID{all[i].TID()}}}})
		if err := errors.Join(err, s.Sync()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		put(i)
	}
	listing := &withoutLists{FS: disk}
	reader, err := bundled.New(bundled.Options{FS: listing, Beside: true, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	look := func(say string, oid zodb.OID, i int) {
		t.Helper()
		if _, _, err := reader.Get(layout.Revision(oid, all[i].TID())); !errors.Is(err, fs.ErrNotExist) || listing.n != 0 {
			t.Errorf("%s: object %s, which was removed: %v", say, oid, err)
		}
		if r, err := reader.Load(3); err != nil || r.Serial != reader.Reach() {
			t.Errorf("%s: object 3 is of %s, %v", say, r.Serial, err)
		}
	}
	put(3)
	pack(2, 3)
	listing.n = 1
	look("a bundle that it did not know", 2, 3)
	pack(1, 0)
	look("a list", 1, 0)
	listing.n = 3 // one agrees with another one that misses them as well
	pack(2, 0)
	look("another list", 1, 0)
	look("another list", 2, 0)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
}

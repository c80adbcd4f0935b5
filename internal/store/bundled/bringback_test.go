package bundled_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestBlobsOfWhatIsGoneForGood: the store has purged a revision by itself, and its blob waits for
// the next purge. Bringing back does not give A a blob without a revision.
func TestBlobsOfWhatIsGoneForGood(t *testing.T) {
	t.Parallel()
	for _, before := range []int64{5, 6} { // stamps before that are gone for good
		s, disk := newStore(t)
		all := storetest.Chain([]zodb.OID{1}, []zodb.OID{1})
		for _, x := range all {
			x := x.(*storetest.Txn)
			x.Blob = "journal/staged-" + x.Tid.String()
			if _, err := vfs.Put(disk, x.Blob, []byte(x.Blob), true); err != nil {
				t.Fatal(err)
			}
		}
		old := store.Removal{Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{all[0].TID()}}}}
		err := errors.Join(s.Put(store.A, all, new(store.Progress)), s.SetLast(store.A, all[1].TID()))
		for empty := false; err == nil && !empty; {
			_, empty, err = s.Thaw(100)
		}
		if err == nil {
			_, err = s.Remove(5, old)
		}
		if err = errors.Join(err, s.Sync()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := tendOnce(t, s, store.Tending{Before: before}); err != nil {
			t.Fatal(err)
		}
		r := s.BringBack(0)
		for done := false; !done; {
			n, err := r.Step(10, func() error { return nil })
			if done = n.Done; err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		_, err = s.Load(1)
		f, _, berr := s.OpenBlob(1, all[0].TID())
		if berr == nil {
			_ = f.Close() // it was only opened
		}
		if there := before == 5; err != nil || there != (berr == nil) || !there && !errors.Is(berr, fs.ErrNotExist) {
			t.Errorf("purged before %d: %v; the blob: %v, want it: %t", before, err, berr, there)
		}
	}
}

// TestListOfAMissingBundle: removals from a bundle that is missing are not forgotten, so
// the members do not come back with it.
func TestListOfAMissingBundle(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{1, 3}, []zodb.OID{1})
	for i := range all {
		if err := errors.Join(s.Put(store.A, all[i:i+1], new(store.Progress)), s.SetLast(store.A, all[i].TID())); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Remove(0, store.Removal{Objects: []zodb.OID{3}})
	if err := errors.Join(err, s.Sync(), s.Close()); err != nil {
		t.Fatal(err)
	}
	const aside = "misc/moved-out"
	name := "A/bundles/" + all[1].TID().String() + "-" + all[1].TID().String() + ".0.tar.zst"
	if err := disk.Rename(name, aside); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, disk)
	for empty := false; !empty; {
		if _, empty, err = s.Thaw(100); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		if _, _, err := tendOnce(t, s, store.Tending{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Close(), disk.Rename(aside, name)); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, disk)
	if r, err := s.Load(3); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("object 3, which a pack took, is of %s, %v", r.Serial, err)
	}
	if r, err := s.Load(1); err != nil || r.Serial != all[2].TID() {
		t.Errorf("object 1 is of %s, %v", r.Serial, err)
	}
}

// TestARevisionWithoutItsBlobStaysRemoved: the file of a blob that a pack has put aside is missing, as in a HOME
// that was restored. The rest of the pack comes back; the revision of the blob does not, and there is nothing left to
// bring back.
func TestARevisionWithoutItsBlobStaysRemoved(t *testing.T) {
	t.Parallel()
	for _, missing := range []bool{false, true} {
		s, disk := newStore(t)
		all := storetest.Chain([]zodb.OID{1}, []zodb.OID{1, 2}, []zodb.OID{1, 2})
		for _, x := range all {
			x := x.(*storetest.Txn)
			x.Blob = "journal/staged-" + x.Tid.String()
			if _, err := vfs.Put(disk, x.Blob, []byte(x.Blob), true); err != nil {
				t.Fatal(err)
			}
		}
		first, second := all[0].TID(), all[1].TID()
		err := errors.Join(s.Put(store.A, all, new(store.Progress)), s.SetLast(store.A, all[2].TID()))
		for empty := false; err == nil && !empty; {
			_, empty, err = s.Thaw(100)
		}
		if err == nil {
			_, err = s.Remove(5, store.Removal{Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{first, second}}, {OID: 2, TIDs: []zodb.TID{second}}}})
		}
		if err = errors.Join(err, s.Sync()); err != nil {
			t.Fatal(err)
		}
		if missing {
			for name := range vfs.Walk(disk, "A/blobs") {
				if strings.Contains(name, second.String()) {
					if err := disk.Remove(name); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		r := s.BringBack(0)
		defer r.Close()
		var sum store.Restored
		for range 10 {
			n, err := r.Step(10, func() error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			sum.Revisions, sum.NoBlob, sum.Blobs, sum.Done = sum.Revisions+n.Revisions, sum.NoBlob+n.NoBlob, sum.Blobs+n.Blobs, n.Done
			if n.Done {
				break
			}
		}
		want := store.Restored{Done: true, Counts: store.Counts{Revisions: 3, Blobs: 2}}
		if missing {
			want = store.Restored{Done: true, NoBlob: 1, Counts: store.Counts{Revisions: 2, Blobs: 1}}
		}
		if sum != want {
			t.Errorf("missing %t: %+v, want %+v", missing, sum, want)
		}
		if _, _, err := s.Get(layout.Revision(1, second)); errors.Is(err, fs.ErrNotExist) != missing {
			t.Errorf("missing %t: the revision: %v", missing, err)
		}
		for _, n := range []layout.Name{layout.Revision(1, first), layout.Revision(2, second)} {
			if _, _, err := s.Get(n); err != nil {
				t.Errorf("missing %t: %v", missing, err)
			}
		}
	}
}

// TestABringBackLooksOnceAtAllThatIsPutAside, however many bundles have objects that other packs took: of a storage with
// many blobs each look takes long, and nothing ends it.
func TestABringBackLooksOnceAtAllThatIsPutAside(t *testing.T) {
	t.Parallel()
	const objects = 12
	lists := func(stamp int64) (n int) {
		s, disk := newStore(t)
		var oids [][]zodb.OID
		var old, objs store.Removal
		for oid := range zodb.OID(objects) {
			oids = append(oids, []zodb.OID{oid}, []zodb.OID{oid})
			objs.Objects = append(objs.Objects, oid)
		}
		all := storetest.Chain(oids...)
		for _, x := range all {
			x := x.(*storetest.Txn)
			x.Blob = "journal/staged-" + x.Tid.String()
			if _, err := vfs.Put(disk, x.Blob, []byte(x.Blob), true); err != nil {
				t.Fatal(err)
			}
		}
		for i := 0; i < len(all); i += 2 {
			if err := errors.Join(s.Put(store.A, all[i:i+2], new(store.Progress)), s.SetLast(store.A, all[i+1].TID())); err != nil {
				t.Fatal(err)
			}
			oid := zodb.OID(i / 2)
			old.Revisions = append(old.Revisions, store.Revisions{OID: oid, TIDs: []zodb.TID{all[i].TID()}})
			objs.Revisions = append(objs.Revisions, store.Revisions{OID: oid, TIDs: []zodb.TID{all[i+1].TID()}})
		}
		_, err := s.Remove(5, old)
		if err == nil {
			_, err = s.Remove(6, objs)
		}
		if err = errors.Join(err, s.Sync(), s.Close()); err != nil {
			t.Fatal(err)
		}
		s = reopen(t, errfs.New(disk, func(op errfs.Op) error {
			if op.Kind == "list" && op.Name == "A" {
				n++
			}
			return nil
		}))
		n = 0
		r := s.BringBack(stamp)
		defer r.Close()
		for done := false; !done; {
			step, err := r.Step(100, func() error { return nil })
			if done = step.Done; err != nil {
				t.Fatal(err)
			}
		}
		for oid := range zodb.OID(objects) {
			f, _, err := s.OpenBlob(oid, all[2*oid+1].TID())
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if of, all := lists(5), lists(0); of != all {
		t.Errorf("it looks %d times at A for the blobs of one pack, and %d times for those of all", of, all)
	}
}

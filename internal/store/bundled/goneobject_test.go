package bundled_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestObjectThatIsGoneStaysGoneOverMerges: its newest revision is gone for good, and an older one was
// brought back. No merge and no rewriting leaves away the entry that says so.
func TestObjectThatIsGoneStaysGoneOverMerges(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	h := newHistory(s, 3)
	if err := h.thaw(); err != nil {
		t.Fatal(err)
	}
	txns := storetest.Chain([]zodb.OID{5}, []zodb.OID{5, 6}, []zodb.OID{6}, []zodb.OID{7}, []zodb.OID{8})
	for _, tx := range txns {
		if err := errors.Join(s.Put(store.A, []store.Transaction{tx}, new(store.Progress)), s.SetLast(store.A, tx.TID())); err != nil {
			t.Fatal(err)
		}
	}
	older, newest := txns[0].TID(), txns[1].TID()
	remove := func(stamp int64, what store.Removal) {
		t.Helper()
		removeNow(t, s, stamp, what)
	}
	remove(101, store.Removal{Revisions: []store.Revisions{{OID: 5, TIDs: []zodb.TID{older}}}})
	remove(0, store.Removal{Objects: []zodb.OID{5}, Revisions: []store.Revisions{{OID: 5, TIDs: []zodb.TID{newest}}, {OID: 6, TIDs: []zodb.TID{newest}}}})
	bringBackNow(t, s, 101)
	before, err := bundlesIn(disk, store.A)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.tend(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if after, err := bundlesIn(disk, store.A); err != nil || after >= before {
		t.Errorf("of %d bundles %d are left: nothing was merged; %v", before, after, err)
	}
	gone := func(s *bundled.Store, where string) {
		t.Helper()
		if tid, err := s.Current(5); tid != 0 || err == nil {
			t.Errorf("%s: the object is at %s, which is not its newest revision: %v", where, tid, err)
		}
	}
	gone(s, "after merges")
	still, err := bundled.New(bundled.Options{FS: disk, Still: true, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	gone(still, "a copy")
	if err := errors.Join(still.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func removeNow(t *testing.T, s *bundled.Store, stamp int64, what store.Removal) {
	t.Helper()
	if _, err := s.Remove(stamp, what); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
}

func bringBackNow(t *testing.T, s *bundled.Store, stamp int64) {
	t.Helper()
	b := s.BringBack(stamp)
	defer b.Close()
	for range 100 {
		n, err := b.Step(10, func() error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		if n.Done {
			return
		}
	}
	t.Fatal("it does not end")
}

// TestMergesKeepWhatIsAside: revisions that a pack put aside are gone after all merges and rewritings,
// and can be brought back.
func TestMergesKeepWhatIsAside(t *testing.T) {
	t.Parallel()
	for hit := range 5 {
		s, disk := newStore(t)
		h := newHistory(s, 3)
		if err := h.thaw(); err != nil {
			t.Fatal(err)
		}
		txns := storetest.Chain([]zodb.OID{1, 9}, []zodb.OID{2, 9}, []zodb.OID{3, 9}, []zodb.OID{4, 9}, []zodb.OID{5, 9})
		for _, tx := range txns {
			if err := errors.Join(s.Put(store.A, []store.Transaction{tx}, new(store.Progress)), s.SetLast(store.A, tx.TID())); err != nil {
				t.Fatal(err)
			}
		}
		oid, tid := zodb.OID(hit+1), txns[hit].TID()
		removeNow(t, s, 101, store.Removal{Objects: []zodb.OID{oid}, Revisions: []store.Revisions{{OID: oid, TIDs: []zodb.TID{tid}}}})
		if err := h.tend(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if n, err := bundlesIn(disk, store.A); err != nil || n > 2 {
			t.Errorf("%d: there are %d bundles: not all were merged: %v", hit, n, err)
		}
		if _, _, err := s.Get(layout.Revision(oid, tid)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: what was put aside is there after merges: %v", hit, err)
		}
		bringBackNow(t, s, 101)
		if _, _, err := s.Get(layout.Revision(oid, tid)); err != nil {
			t.Errorf("%d: it does not come back after merges: %v", hit, err)
		}
		if is, err := s.Current(oid); is != tid {
			t.Errorf("%d: the object is at %s: %v", hit, is, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

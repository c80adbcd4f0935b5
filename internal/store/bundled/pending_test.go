package bundled_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestOneListForAPack: however many steps a pack has, it writes one list for each bundle. Readers miss
// its removals at once; a crash before the lists brings all of it back, with its blobs.
func TestOneListForAPack(t *testing.T) {
	t.Parallel()
	for _, stamp := range []int64{0, 7} {
		disk := crashfs.New(1)
		if err := makeEmpty(disk); err != nil {
			t.Fatal(err)
		}
		open := func(disk *crashfs.FS) *bundled.Store {
			t.Helper()
			s, err := bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now})
			if err == nil {
				err = s.SyncFound()
			}
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open(disk)
		const bundles, each = 3, 40
		previous := zodb.TID(0)
		for range bundles {
			var batch []store.Transaction
			for range each {
				x := &storetest.Txn{Tid: previous + 1<<20, Previous: previous, OIDs: []zodb.OID{1, 2}, Before: map[zodb.OID]zodb.TID{1: previous, 2: previous}}
				batch, previous = append(batch, x), x.Tid
			}
			if err := errors.Join(s.Put(store.A, batch, new(store.Progress)), s.SetLast(store.A, previous)); err != nil {
				t.Fatal(err)
			}
		}
		before := lists(t, disk)
		var removed store.Counts
		for tid := zodb.TID(1 << 20); tid < previous; tid += 1 << 20 {
			for range 2 { // a step may be repeated
				n, err := s.Remove(stamp, store.Removal{Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{tid}}, {OID: 2, TIDs: []zodb.TID{tid}}}, Transactions: []zodb.TID{tid}})
				if err != nil {
					t.Fatal(err)
				}
				removed.Revisions, removed.Transactions = removed.Revisions+n.Revisions, removed.Transactions+n.Transactions
			}
			if _, _, err := s.Get(layout.Revision(1, tid)); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("a revision that was removed: %v", err)
			}
		}
		if removed.Revisions != 2*(bundles*each-1) || removed.Transactions != bundles*each-1 {
			t.Errorf("removed %+v", removed)
		}
		if n := lists(t, disk); n != before {
			t.Errorf("there are %d lists before the pack has ended, %d before it began", n, before)
		}
		back := open(disk.Crashed(crashfs.KeepAll))
		if n, err := back.Count(t.Context(), store.A); err != nil || n.Revisions != 2*bundles*each {
			t.Errorf("after a crash there are %+v: %v", n, err)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if n := lists(t, disk); n != before+bundles {
			t.Errorf("there are %d lists, want one for each of %d bundles", n, bundles)
		}
		after := open(disk.Crashed(crashfs.KeepNone))
		if n, err := after.Count(t.Context(), store.A); err != nil || n.Revisions != 2 || n.Transactions != 1 {
			t.Errorf("after the pack there are %+v: %v", n, err)
		}
		if err := errors.Join(s.Close(), back.Close(), after.Close()); err != nil {
			t.Error(err)
		}
	}
}

// lists returns how many gone lists A has, and ever had: numbers are not used again.
func lists(t *testing.T, disk *crashfs.FS) (n int) {
	t.Helper()
	for e, err := range disk.List("A/bundles") {
		if err != nil {
			t.Fatal(err)
		}
		if _, number, ok := bundle.ParseName(e.Name); ok && strings.HasSuffix(e.Name, ".gone") {
			n += int(number)
		}
	}
	return n
}

package bundled_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// openBundles counts bundles that are open files.
type openBundles struct {
	disk      vfs.FS
	mu        sync.Mutex
	now, most int
	fail      func(o errfs.Op) error // guarded by mu; of those that are opened
}

// decide is called for each operation.
func (c *openBundles) decide(o errfs.Op) error {
	if !strings.Contains(o.Name, "/bundles/") || !strings.HasSuffix(o.Name, ".zst") {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch o.Kind {
	case "open":
		if c.fail != nil {
			if err := c.fail(o); err != nil {
				return err
			}
		}
		if _, err := c.disk.Stat(o.Name); err != nil {
			return nil
		}
		c.now++
		c.most = max(c.most, c.now)
	case "close":
		c.now--
	}
	return nil
}

func (c *openBundles) failing(f func(o errfs.Op) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = f
}

// fewOpen makes a store of some bundles of which few may be open, and one with an object that all
// have, and one that it has alone, each.
func fewOpen(t *testing.T, bundles, open int) (*bundled.Store, *crashfs.FS, *openBundles, []*storetest.Txn) {
	t.Helper()
	disk := crashfs.New(1)
	if err := makeEmpty(disk); err != nil {
		t.Fatal(err)
	}
	count := &openBundles{disk: disk}
	s, err := bundled.New(bundled.Options{FS: errfs.New(disk, count.decide), Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 4, OpenFiles: open})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if count.now != 0 {
			t.Errorf("%d bundles are open after a close", count.now)
		}
	})
	if _, empty, err := s.Thaw(1); err != nil || !empty {
		t.Fatal(err)
	}
	var txns []*storetest.Txn
	before := make(map[zodb.OID]zodb.TID)
	for i := range bundles {
		x := &storetest.Txn{Tid: zodb.TID(i+1) << 20, OIDs: []zodb.OID{0, zodb.OID(i + 1)}, Before: map[zodb.OID]zodb.TID{0: before[0]}}
		if i > 0 {
			x.Previous = txns[i-1].Tid
		}
		before[0] = x.Tid
		txns = append(txns, x)
		if err := errors.Join(s.Put(store.A, []store.Transaction{x}, new(store.Progress)), s.SetLast(store.A, x.Tid)); err != nil {
			t.Fatal(err)
		}
	}
	return s, disk, count, txns
}

// readAll reads each revision.
func readAll(s *bundled.Store, txns []*storetest.Txn) error {
	for _, x := range txns {
		for _, oid := range x.OIDs {
			b, place, err := s.Get(layout.Revision(oid, x.Tid))
			if err == nil {
				err = isWritten(b, place, oid, x.Tid)
			}
			if err != nil {
				return fmt.Errorf("revision %s of %s: %w", x.Tid, oid, err)
			}
		}
		if tid, err := s.Current(x.OIDs[1]); err != nil || tid != x.Tid {
			return fmt.Errorf("object %s is of %s, %w", x.OIDs[1], tid, err)
		}
	}
	return nil
}

// TestFewBundlesAreOpen: there are more bundles than may be open. All is read, by many at a time, while
// they are merged and rewritten; and no more are open than those that may be and those that are read.
func TestFewBundlesAreOpen(t *testing.T) {
	t.Parallel()
	const open, readers = 3, 4
	s, _, count, txns := fewOpen(t, 40, open)
	if err := readAll(s, txns); err != nil {
		t.Fatal(err)
	}
	if count.most > open+1 {
		t.Errorf("%d bundles were open, %d may be", count.most, open)
	}
	var wg sync.WaitGroup
	for i := range readers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 5 {
				if err := readAll(s, txns); err != nil {
					t.Error(err)
				}
				if err := readSome(s, r, txns[39].Tid); err != nil {
					t.Error(err)
				}
			}
		})
	}
	if err := tendAll(s); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := readAll(s, txns); err != nil {
		t.Error(err)
	}
	// Some stay open for those who read them, although they are removed.
	if most := open + readers + 1 + 8 + 1; count.most > most {
		t.Errorf("%d bundles were open, want no more than %d", count.most, most)
	}
}

// TestRemovedBundlesStayReadable: a walk over the bundles reads on in those that were merged and
// removed, although others took the place of their files meanwhile; also in those that moved out of B.
func TestRemovedBundlesStayReadable(t *testing.T) {
	t.Parallel()
	s, _, _, txns := fewOpen(t, 20, 2)
	s.UseB()
	last := &storetest.Txn{Tid: 21 << 20, Previous: 20 << 20, OIDs: []zodb.OID{21}}
	if err := errors.Join(s.Put(store.B, []store.Transaction{last}, new(store.Progress)), s.SetLast(store.B, last.Tid)); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for n, err := range s.Names(t.Context(), layout.KindTransaction) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; n.TID != zodb.TID(seen)<<20 {
			t.Errorf("%s after %d", n, seen-1)
		}
		if seen == 2 {
			for empty := false; !empty; {
				if _, empty, err = s.Thaw(100); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(readAll(s, txns), tendAll(s), readAll(s, txns)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen != 21 {
		t.Errorf("%d transactions", seen)
	}
}

// TestNoDescriptorForAMoment: a load waits out a moment without descriptors; if it lasts the error says
// so, and never that there is no such object.
func TestNoDescriptorForAMoment(t *testing.T) {
	t.Parallel()
	s, _, count, txns := fewOpen(t, 10, 1)
	for _, c := range []struct {
		times int
		cause error
	}{{3, syscall.EMFILE}, {3, syscall.ENFILE}, {1000, syscall.EMFILE}} {
		left := c.times
		count.failing(func(errfs.Op) error {
			if left--; left >= 0 {
				return c.cause
			}
			return nil
		})
		err := readAll(s, txns[:2])
		count.failing(nil)
		if lasts := c.times > 100; lasts != errors.Is(err, c.cause) || !lasts && err != nil {
			t.Errorf("%v %d times: %v", c.cause, c.times, err)
		}
		if errors.Is(err, zodb.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v is taken for a missing object", err)
		}
		if err := readAll(s, txns); err != nil {
			t.Error(err)
		}
	}
	// Sources that cannot be held for their readers stay.
	for _, err := range s.Names(t.Context(), layout.KindTransaction) {
		if err != nil {
			t.Fatal(err)
		}
		removed := false
		count.failing(func(o errfs.Op) error {
			if strings.Contains(o.Name, txns[0].Tid.String()+"-"+txns[3].Tid.String()) {
				removed = true // the merged one is opened
			} else if removed {
				return syscall.EMFILE
			}
			return nil
		})
		if err := tendAll(s); !errors.Is(err, syscall.EMFILE) {
			t.Errorf("merge: %v", err)
		}
		count.failing(nil)
		break
	}
	if err := errors.Join(readAll(s, txns), tendAll(s), readAll(s, txns)); err != nil {
		t.Error(err)
	}
}

// TestBundlesThatSomebodyTook: a bundle that is not open is removed or replaced under a storage. A load
// names the fault, and never that there is no such object.
func TestBundlesThatSomebodyTook(t *testing.T) {
	t.Parallel()
	s, disk, _, txns := fewOpen(t, 6, 1)
	name := func(i int) string {
		return "A/bundles/" + txns[i].Tid.String() + "-" + txns[i].Tid.String() + ".0.tar.zst"
	}
	other, err := disk.ReadFile(name(4))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(disk.Remove(name(0)), disk.Remove(name(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Put(disk, name(1), other, true); err != nil {
		t.Fatal(err)
	}
	for i, say := range []string{"is gone", "another file"} {
		_, err := s.Load(zodb.OID(i + 1))
		if !errors.Is(err, zodb.ErrCorrupt) || !strings.Contains(err.Error(), say) || errors.Is(err, zodb.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name(i), err)
		}
	}
	if err := readAll(s, txns[2:]); err != nil {
		t.Error(err)
	}
}

// TestFewOpenBesideAnotherProcess: bundles that were merged away by another process, and are not open,
// are missing for a walk over them. The error has advice; a load finds the merged one.
func TestFewOpenBesideAnotherProcess(t *testing.T) {
	t.Parallel()
	s, disk, _, txns := fewOpen(t, 20, 4)
	var missed atomic.Int64 // opens of bundles that are not there
	beside, err := bundled.New(bundled.Options{FS: errfs.New(disk, func(o errfs.Op) error {
		if _, err := disk.Stat(o.Name); o.Kind == "open" && err != nil {
			missed.Add(1)
		}
		return nil
	}), Clock: time.Now, Beside: true, OpenFiles: 1})
	if err != nil {
		t.Fatal(err)
	}
	err = nil
	merged := false
	for _, e := range beside.Names(t.Context(), layout.KindTransaction) {
		if err = e; err != nil {
			break
		}
		if !merged {
			merged = true
			if err := errors.Join(tendAll(s), readAll(beside, txns)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !errors.Is(err, zodb.ErrScarce) || !strings.Contains(err.Error(), "begin again") {
		t.Errorf("walk: %v", err)
	}
	if n := missed.Load(); n != 1 {
		t.Errorf("a bundle that is there no more was looked for %d times, want 1: no descriptor is lacking", n)
	}
	if err := errors.Join(readAll(beside, txns), beside.Close()); err != nil {
		t.Error(err)
	}
}

// TestConformsWithOneOpenBundle: all that a store does, with one open file.
func TestConformsWithOneOpenBundle(t *testing.T) {
	t.Parallel()
	storetest.Conformance(t, func(t *testing.T) (store.Store, vfs.FS) {
		disk := crashfs.New(1)
		if err := makeEmpty(disk); err != nil {
			t.Fatal(err)
		}
		s, err := bundled.New(bundled.Options{FS: disk, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2, CommitEvery: 3, OpenFiles: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s, disk
	})
}

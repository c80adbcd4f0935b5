package bundled_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// tendOnce does one chore.
func tendOnce(t *testing.T, s *bundled.Store, o store.Tending) (found bool, n store.Tended, err error) {
	t.Helper()
	c, err := s.Tend(o)
	if err != nil || c == nil {
		t.Fatalf("no chore: %v", err)
	}
	if found, err = c.Prepare(t.Context()); found && err == nil {
		n, err = c.Publish()
	}
	if cerr := c.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	return found, n, err
}

// TestReclaim: where space is short the bundle comes first that gives back most for the room that it
// takes, one that has no room is told, room is asked for, and nothing is merged.
func TestReclaim(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	h := newHistory(s, 3)
	if err := h.thaw(); err != nil {
		t.Fatal(err)
	}
	// Of the first bundle two thirds go, of the second nearly all, of the third nothing.
	const half = 2000
	var oids []zodb.OID
	for oid := range zodb.OID(2 * half) {
		oids = append(oids, oid)
	}
	txns := storetest.Chain(oids[:half], oids[half:], oids)
	for _, tx := range txns {
		if err := errors.Join(s.Put(store.A, []store.Transaction{tx}, new(store.Progress)), s.SetLast(store.A, tx.TID())); err != nil {
			t.Fatal(err)
		}
	}
	var what store.Removal
	for _, oid := range oids {
		switch {
		case oid < half*2/3:
			what.Revisions = append(what.Revisions, store.Revisions{OID: oid, TIDs: []zodb.TID{txns[0].TID()}})
		case oid >= half && oid < 2*half-10:
			what.Revisions = append(what.Revisions, store.Revisions{OID: oid, TIDs: []zodb.TID{txns[1].TID()}})
		}
	}
	if _, err := s.Remove(0, what); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.SetPacked(txns[2].TID()), s.Sync()); err != nil {
		t.Fatal(err)
	}
	var claims []int64
	o := store.Tending{Reclaim: true, Least: 0.1, Claim: func(n int64) { claims = append(claims, n) }}
	// 30 members of 128 bytes and their contents have room; 700 have not.
	o.Room = 48 << 10
	found, n, err := tendOnce(t, s, o)
	if err != nil || !found || n.Files == 0 || n.GaveBack < 1000 || n.Bytes > o.Room {
		t.Fatalf("found %t, %+v, %v", found, n, err)
	}
	if found, n, err = tendOnce(t, s, o); !errors.Is(err, zodb.ErrDiskFull) || found {
		t.Errorf("without room: found %t, %+v, %v", found, n, err)
	}
	o.Room = 0
	found, second, err := tendOnce(t, s, o)
	if err != nil || !found || second.GaveBack < 1000 || second.Bytes <= n.Bytes {
		t.Errorf("with room: found %t, %+v, %v", found, second, err)
	}
	if len(claims) != 2 || claims[0] > claims[1] {
		t.Errorf("room was asked for %d", claims)
	}
	if found, n, err = tendOnce(t, s, o); found || err != nil {
		t.Errorf("at the end: found %t, %+v, %v", found, n, err)
	}
	if n, err := bundlesIn(disk, store.A); err != nil || n != 3 {
		t.Errorf("there are %d bundles, %v", n, err)
	}
	if found, _, err = tendOnce(t, s, store.Tending{}); !found || err != nil {
		t.Errorf("it is not that there was nothing to merge: %v", err)
	}
	for _, oid := range slices.Concat(oids[:3], oids[half:half+3], oids[2*half-3:]) {
		if tid, err := s.Current(oid); err != nil || tid != txns[2].TID() {
			t.Errorf("object %s has revision %s, %v", oid, tid, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCloseOnAFullDisk: the table of current revisions cannot be kept, and no close fails for that; the
// next open reads everything.
func TestCloseOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	if err := makeEmpty(disk); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	h := withBundles(t, f, 3)
	refused := 0
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "create" || op.Kind == "write" || op.Kind == "sync" {
			refused++
			return syscall.ENOSPC
		}
		return nil
	})
	if err := h.s.Close(); err != nil || refused == 0 {
		t.Errorf("close: %v, %d operations were refused", err, refused)
	}
	f.Decide(nil)
	for _, after := range []vfs.FS{disk, disk.Crashed(crashfs.KeepNone)} {
		s, err := bundled.New(bundled.Options{FS: after, Sync: true, DirSync: true, Clock: time.Now, MergeFactor: 2})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.check(s), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// Package storetest has the tests that every store has to pass, and a store in memory.
package storetest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// put puts and marks transactions.
func put(t testing.TB, s store.Store, side store.Side, batch ...store.Transaction) {
	t.Helper()
	if err := errors.Join(s.Put(side, batch, new(store.Progress)), s.SetLast(side, batch[len(batch)-1].TID())); err != nil {
		t.Fatal(err)
	}
}

// Check compares a store with transactions of which all up to x.serial have to be there.
func Check(t testing.TB, s store.Store, all []store.Transaction) {
	t.Helper()
	last, err := s.Mark(layout.XSerial)
	if err != nil {
		t.Fatal(err)
	}
	c, err := contentsOf(all, zodb.TID(last))
	if err == nil {
		err = c.all(s, true)
	}
	if err != nil {
		t.Error(err)
	}
}

// Conformance tests the promises of the interfaces. open returns an empty store of class
// Full, and a file system with the directories journal and misc from which it takes blobs.
func Conformance(t *testing.T, open func(t *testing.T) (store.Store, vfs.FS)) {
	for name, test := range map[string]func(t *testing.T, s store.Store, f vfs.FS){
		"reading": reading, "listing": listing, "snapshot": snapshot, "pack": packs, "packs": several, "one of several packs": oneOfSeveral, "a part of a purge": partOfPurge, "blobs": blobs, "sums": sums,
	} {
		t.Run(name, func(t *testing.T) {
			s, f := open(t)
			test(t, s, f)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	// Each without a fault, on a store of its own.
	list, err := scenarios(crashfsWithJournal())
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		t.Run(list[i].name, func(t *testing.T) {
			s, f := open(t)
			mine, err := scenarios(f)
			if err != nil {
				t.Fatal(err)
			}
			sc := mine[i]
			if sc.before != nil {
				err = sc.before(s)
			}
			for range 2 { // it may be repeated
				if err == nil {
					err = sc.work(s)
				}
			}
			if err == nil {
				err = sc.end(s)
			}
			if err = errors.Join(err, s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func reading(t *testing.T, s store.Store, _ vfs.FS) {
	if _, err := s.Current(1); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
	if _, _, err := s.Get(layout.Revision(1, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a revision that is not there: %v", err)
	}
	for _, n := range []layout.Name{layout.Revision(1, 0), layout.Transaction(0)} { // of no tid, which nothing can have lost
		if _, _, err := s.Get(n); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v, in an empty store: %v", n, err)
		}
	}
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{0})
	for range 2 { // it may be repeated
		put(t, s, store.A, all...)
		Check(t, s, all)
	}
	r, err := s.Load(1)
	if err != nil || r.Serial != tid(2) {
		t.Errorf("object 1 is of %s, want %s: %v", r.Serial, tid(2), err)
	}
	if there, err := s.HasData(1); !there || err != nil {
		t.Errorf("object 1 has data: %v, %v", there, err)
	}
	if v, err := s.Mark(layout.XOID); v != 0 || err != nil {
		t.Errorf("x.oid is %d, want that of the last transaction: %v", v, err)
	}
}

// sums puts transactions that are there, and not marked, with checksums of other kinds: those of an
// earlier build that did not come to its end.
func sums(t *testing.T, s store.Store, _ vfs.FS) {
	first := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{0})
	put(t, s, store.A, first[0])
	for kinds := range noSums + 1 {
		batch := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{0})
		for _, x := range batch {
			x.(*Txn).Kinds = kinds
		}
		if err := s.Put(store.A, batch[1:], new(store.Progress)); err != nil {
			t.Fatalf("kinds %d: %v", kinds, err)
		}
	}
	if err := s.SetLast(store.A, tid(3)); err != nil {
		t.Fatal(err)
	}
	c, err := contentsOf(first, tid(3))
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range c.text {
		if got, err := get(s, n); err != nil || !record.Same(got, want) {
			t.Errorf("%s differs by more than its checksum: %v", n, err)
		}
	}
	if kind := s.SumKind(); kind == record.NoSum {
		t.Error("the store wants no checksums")
	}
}

func listing(t *testing.T, s store.Store, _ vfs.FS) {
	put(t, s, store.A, Chain([]zodb.OID{0, 7}, []zodb.OID{7}, []zodb.OID{9})...)
	n, err := s.Count(t.Context(), store.A)
	if n.Objects != 3 || n.Revisions != 4 || n.Transactions != 3 || err != nil {
		t.Errorf("counted %+v: %v", n, err)
	}
	var oids []zodb.OID
	for oid, err := range s.Objects(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		oids = append(oids, oid)
	}
	if slices.Sort(oids); !slices.Equal(oids, []zodb.OID{0, 7, 9}) {
		t.Errorf("the objects are %v", oids)
	}
	if next, found, err := s.NextOID(t.Context(), 1); next != 7 || !found || err != nil {
		t.Errorf("after 1 comes %s, %v, %v", next, found, err)
	}
	if _, found, err := s.NextOID(t.Context(), 10); found || err != nil {
		t.Errorf("after 10 comes one: %v, %v", found, err)
	}
	if older, err := s.OlderRevision(7, tid(2)); older != tid(1) || err != nil {
		t.Errorf("before %s is %s: %v", tid(2), older, err)
	}
	if older, err := s.OlderTransaction(tid(3)); older != tid(2) || err != nil {
		t.Errorf("before %s is %s: %v", tid(3), older, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Names(ended, layout.KindRevision) {
		if err == nil {
			t.Error("the walk goes on after the end of its context")
		}
	}
}

func snapshot(t *testing.T, s store.Store, _ vfs.FS) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{2, 3})
	put(t, s, store.A, all[0])
	if _, err := s.RaiseFloor(time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	s.UseB()
	put(t, s, store.B, all[1:]...)
	if last, err := s.LastInA(); last != tid(1) || err != nil {
		t.Errorf("A ends with %s: %v", last, err)
	}
	for steps := 0; ; steps++ {
		Check(t, s, all)
		moved, empty, err := s.Thaw(3)
		if err != nil || moved > 3 || steps > 100 {
			t.Fatalf("moved %d in step %d: %v", moved, steps, err)
		}
		if empty {
			break
		}
	}
	Check(t, s, all)
	if last, err := s.LastInA(); last != tid(3) || err != nil {
		t.Errorf("A ends with %s after all: %v", last, err)
	}
}

func packs(t *testing.T, s store.Store, _ vfs.FS) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{0, 1})
	put(t, s, store.A, all...)
	before, err := s.Count(t.Context(), store.A)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(stamp int64) store.Counts {
		t.Helper()
		n, err := remove(s, stamp, store.Removal{Objects: []zodb.OID{2},
			Revisions:    []store.Revisions{{OID: 1, TIDs: []zodb.TID{tid(1), tid(2)}}, {OID: 2, TIDs: []zodb.TID{tid(2)}}},
			Transactions: []zodb.TID{tid(2)}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := errors.Join(s.SetPacked(tid(3)), s.Relink([]store.Link{{TID: tid(3), Previous: tid(1)}})); err != nil {
		t.Fatal(err)
	}
	if n := remove(5); n.Objects != 1 || n.Revisions != 3 || n.Transactions != 1 {
		t.Errorf("removed %+v", n)
	}
	if n := remove(5); n != (store.Counts{}) {
		t.Errorf("removed %+v once more", n)
	}
	if _, err := s.Current(2); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("object 2 was removed: %v", err)
	}
	b := s.BringBack(5)
	defer b.Close()
	var back store.Counts
	for done := false; !done; {
		n, err := b.Step(2, func() error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		back.Objects, back.Revisions, back.Transactions = back.Objects+n.Objects, back.Revisions+n.Revisions, back.Transactions+n.Transactions
		done = n.Done
	}
	if back.Objects != 1 || back.Revisions != 3 || back.Transactions != 1 {
		t.Errorf("brought back %+v", back)
	}
	if err := s.Relink([]store.Link{{TID: tid(3), Previous: tid(2)}}); err != nil {
		t.Fatal(err)
	}
	Check(t, s, all)
	if after, err := s.Count(t.Context(), store.A); after != before || err != nil {
		t.Errorf("counted %+v, before %+v: %v", after, before, err)
	}
	remove(6)
	p := s.Purge(7)
	defer p.Close()
	// Whether an object is a thing of its own is up to the store.
	if n, done, err := p.Step(100); n.Files < 4 || n.Files > 5 || !done || err != nil {
		t.Errorf("purged %d, %v, %v, want three revisions, a transaction, and perhaps an object", n, done, err)
	}
	again := s.BringBack(0)
	defer again.Close()
	if n, err := again.Step(100, func() error { return nil }); n.Counts != (store.Counts{}) || err != nil {
		t.Errorf("brought back %+v of purged files: %v", n, err)
	}
}

// blobs go with their transactions and revisions; one that was opened can be read on.
func blobs(t *testing.T, s store.Store, f vfs.FS) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{0})
	if err := stage(f, all); err != nil {
		t.Fatal(err)
	}
	put(t, s, store.A, all[0])
	s.UseB()
	put(t, s, store.B, all[1])
	Check(t, s, all)
	open, _, err := s.OpenBlob(0, tid(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := thaw(s); err != nil {
		t.Fatal(err)
	}
	Check(t, s, all)
	n, err := remove(s, 0, store.Removal{Revisions: []store.Revisions{{OID: 0, TIDs: []zodb.TID{tid(1)}}}})
	if want := int64(len(all[0].Revision(0).Blob)); err != nil || n.Blobs != 1 || n.BlobBytes != want {
		t.Errorf("removed %+v, want one blob of %d bytes: %v", n, want, err)
	}
	if _, _, err := s.OpenBlob(0, tid(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob that was removed: %v", err)
	}
	if b, err := io.ReadAll(open); err != nil || string(b) != all[0].Revision(0).Blob {
		t.Errorf("the blob that was opened before reads %q: %v", b, err)
	}
	if err := open.Close(); err != nil {
		t.Error(err)
	}
}

// several packs may have removed one object, made anew between them. Of all that comes back the
// newest is the current revision.
func several(t *testing.T, s store.Store, _ vfs.FS) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1}, []zodb.OID{1})
	for i, x := range all {
		x.(*Txn).Before[1] = 0
		put(t, s, store.A, x)
		r := store.Removal{Objects: []zodb.OID{1}, Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{x.TID()}}}}
		if _, err := remove(s, int64(5+i), r); err != nil {
			t.Fatal(err)
		}
	}
	n, err := bringBack(s, 0, 2)
	if err != nil || n.Objects != 1 || n.Revisions != 3 {
		t.Errorf("brought back %+v, want one object of three revisions: %v", n, err)
	}
	if current, err := s.Current(1); current != tid(3) || err != nil {
		t.Errorf("the current revision is %s, want %s: %v", current, tid(3), err)
	}
	Check(t, s, all)
}

// oneOfSeveral: one pack takes an old revision of an object, and another the object. A revision that is brought back
// alone would be one of an object without a current revision, so the object comes back with it; if that is gone for
// good, neither does.
func oneOfSeveral(t *testing.T, s store.Store, f vfs.FS) {
	all := Chain([]zodb.OID{1, 0, 2}, []zodb.OID{1, 2}, []zodb.OID{0}, []zodb.OID{1})
	if err := stage(f, all); err != nil {
		t.Fatal(err)
	}
	put(t, s, store.A, all...)
	for _, p := range []struct {
		stamp int64
		what  store.Removal
	}{
		{5, store.Removal{Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{tid(1)}}, {OID: 2, TIDs: []zodb.TID{tid(1)}}}}},
		{6, store.Removal{Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{tid(2)}}}}},
		{7, store.Removal{Objects: []zodb.OID{1}, Revisions: []store.Revisions{{OID: 1, TIDs: []zodb.TID{tid(4)}}}, Transactions: []zodb.TID{tid(2), tid(4)}}},
		{0, store.Removal{Objects: []zodb.OID{2}, Revisions: []store.Revisions{{OID: 2, TIDs: []zodb.TID{tid(2)}}}}},
	} {
		if _, err := remove(s, p.stamp, p.what); err != nil {
			t.Fatal(err)
		}
	}
	look := func(stamp int64, want map[layout.Name]bool) {
		t.Helper()
		for n, there := range want {
			if _, err := get(s, n); (err == nil) != there || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after the pack of %d was brought back, %s: %v, want it: %t", stamp, n, err, there)
			}
		}
		if current, err := s.Current(1); current != tid(4) || err != nil {
			t.Errorf("after the pack of %d was brought back, the current revision is %s, want %s: %v", stamp, current, tid(4), err)
		}
		if current, err := s.Current(2); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("after the pack of %d was brought back, an object that is gone for good is at %s: %v", stamp, current, err)
		}
	}
	old, middle, newest := layout.Revision(1, tid(1)), layout.Revision(1, tid(2)), layout.Revision(1, tid(4))
	if n, err := bringBack(s, 5, 1); err != nil || n.Objects != 1 || n.Revisions != 2 || n.Transactions != 1 || n.Blobs != 2 {
		t.Errorf("brought back %+v, want one object of two revisions with blobs, and a transaction: %v", n, err)
	}
	look(5, map[layout.Name]bool{
		old: true, middle: false, newest: true, layout.Blob(1, tid(1)): true, layout.Blob(1, tid(4)): true,
		layout.Transaction(tid(4)): true, layout.Transaction(tid(2)): false, layout.Revision(2, tid(1)): false,
	})
	// Its transaction is of a later pack.
	if n, err := bringBack(s, 6, 1); err != nil || n.Objects != 0 || n.Revisions != 1 || n.Transactions != 1 || n.Blobs != 1 {
		t.Errorf("brought back %+v, want a revision with a blob and a transaction: %v", n, err)
	}
	look(6, map[layout.Name]bool{middle: true, layout.Blob(1, tid(2)): true, layout.Transaction(tid(2)): true})
	if n, err := bringBack(s, 7, 1); err != nil || n != (store.Counts{}) {
		t.Errorf("brought back %+v, want nothing: %v", n, err)
	}
	if n, err := bringBack(s, 0, 1); err != nil || n.Objects != 0 || n.Revisions != 0 {
		t.Errorf("brought back %+v, want nothing of an object that is gone for good: %v", n, err)
	}
	look(0, nil)
}

// Package storetest has what every store has to pass, and a store in memory.
package storetest

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// Txn is a transaction for tests: it stores its tid as the data of some objects.
type Txn struct {
	Tid      zodb.TID
	Previous zodb.TID
	OIDs     []zodb.OID
	Before   map[zodb.OID]zodb.TID // what the objects had
	Blob     string                // staged file of the first object; of the length of its name
}

var _ store.Transaction = (*Txn)(nil)

// TID implements [store.Transaction].
func (x *Txn) TID() zodb.TID { return x.Tid }

// HighestOID implements [store.Transaction].
func (x *Txn) HighestOID() zodb.OID { return slices.Max(x.OIDs) }

// Len implements [store.Transaction].
func (x *Txn) Len() int { return len(x.OIDs) }

// Revision implements [store.Transaction].
func (x *Txn) Revision(i int) store.Revision {
	r := store.Revision{OID: x.OIDs[i], First: x.Before[x.OIDs[i]] == 0}
	if i == 0 && x.Blob != "" {
		r.Blob, r.BlobSize = x.Blob, int64(len(x.Blob))
	}
	return r
}

// AppendRevision implements [store.Transaction].
func (x *Txn) AppendRevision(dst []byte, i int) ([]byte, error) {
	o := record.Object{OID: x.OIDs[i], Serial: x.Tid, Previous: x.Before[x.OIDs[i]], Data: x.Tid.Bytes()}
	return o.Append(dst, true)
}

// AppendTransaction implements [store.Transaction].
func (x *Txn) AppendTransaction(dst []byte) ([]byte, error) {
	t := record.Transaction{TID: x.Tid, Previous: x.Previous, OIDs: x.OIDs}
	return t.Append(dst, true)
}

// Chain returns transactions 1, 2, … that write the objects of each, with what they
// replace.
func Chain(objects ...[]zodb.OID) []store.Transaction {
	var list []store.Transaction
	current := make(map[zodb.OID]zodb.TID)
	for i, oids := range objects {
		x := &Txn{Tid: tid(i + 1), OIDs: oids, Before: make(map[zodb.OID]zodb.TID)}
		if i > 0 {
			x.Previous = tid(i)
		}
		for _, oid := range oids {
			x.Before[oid] = current[oid]
			current[oid] = x.Tid
		}
		list = append(list, x)
	}
	return list
}

// tid returns the tid of the i-th transaction.
func tid(i int) zodb.TID { return zodb.TID(i) << 20 }

// Check compares a store with transactions of which all up to x.serial have to be there.
func Check(t testing.TB, s store.Store, all []store.Transaction) {
	t.Helper()
	last, err := s.Mark(layout.XSerial)
	if err != nil {
		t.Fatal(err)
	}
	current := make(map[zodb.OID]zodb.TID)
	for _, x := range all {
		if x.TID() > zodb.TID(last) {
			break
		}
		same(t, s, layout.Transaction(x.TID()), x.AppendTransaction)
		for i := range x.Len() {
			oid := x.Revision(i).OID
			same(t, s, layout.Revision(oid, x.TID()), func(dst []byte) ([]byte, error) { return x.AppendRevision(dst, i) })
			current[oid] = x.TID()
		}
	}
	for oid, want := range current {
		if got, err := s.Current(oid); err != nil || got < want {
			t.Errorf("the current revision of %s is %s, want %s: %v", oid, got, want, err)
		}
	}
}

func same(t testing.TB, s store.Store, n layout.Name, content func(dst []byte) ([]byte, error)) {
	t.Helper()
	want, err := content(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, place, err := s.Get(n)
	if err != nil || string(got) != string(want) {
		t.Errorf("%s in %s has %d bytes, want %d: %v", n, place, len(got), len(want), err)
	}
	if size, err := s.Stat(n); err != nil || size != int64(len(want)) {
		t.Errorf("%s is said to have %d bytes, want %d: %v", n, size, len(want), err)
	}
}

// put puts and marks transactions.
func put(t testing.TB, s store.Store, side store.Side, batch ...store.Transaction) {
	t.Helper()
	if err := errors.Join(s.Put(side, batch, new(store.Progress)), s.SetLast(side, batch[len(batch)-1].TID())); err != nil {
		t.Fatal(err)
	}
}

// Conformance tests what the interfaces say. open returns an empty store of class Full.
func Conformance(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("reading", func(t *testing.T) { reading(t, open(t)) })
	t.Run("listing", func(t *testing.T) { listing(t, open(t)) })
	t.Run("snapshot", func(t *testing.T) { snapshot(t, open(t)) })
	t.Run("pack", func(t *testing.T) { packs(t, open(t)) })
}

func reading(t *testing.T, s store.Store) {
	if _, err := s.Current(1); !errors.Is(err, zodb.ErrNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
	if _, _, err := s.Get(layout.Revision(1, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a revision that is not there: %v", err)
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

func listing(t *testing.T, s store.Store) {
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

func snapshot(t *testing.T, s store.Store) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{2, 3})
	put(t, s, store.A, all[0])
	if err := s.RaiseFloor(); err != nil {
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

func packs(t *testing.T, s store.Store) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{0, 1})
	put(t, s, store.A, all...)
	before, err := s.Count(t.Context(), store.A)
	if err != nil {
		t.Fatal(err)
	}
	remove := func(stamp int64) store.Counts {
		t.Helper()
		n, err := s.Remove(stamp, store.Removal{Objects: []zodb.OID{2},
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
	if n, done, err := p.Step(100); n != 5 || !done || err != nil {
		t.Errorf("purged %d, %v, %v, want 5", n, done, err)
	}
	again := s.BringBack(0)
	defer again.Close()
	if n, err := again.Step(100, func() error { return nil }); n.Counts != (store.Counts{}) || err != nil {
		t.Errorf("brought back %+v of what was purged: %v", n, err)
	}
}

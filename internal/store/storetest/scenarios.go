package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// scenario is work that is done to a store, and can be repeated from its beginning.
type scenario struct {
	name string
	// before is done without faults.
	before func(s store.Store) error
	work   func(s store.Store) error
	// always has to hold at every moment, end when the work is done.
	always, end func(s store.Store) error
	least       int // operations that the work has at least
}

// maxSteps bounds loops over steps: a loop that does not come to an end has done nothing in most of
// them.
const maxSteps = 200

// errEndless is a loop over steps that was given up.
var errEndless = errors.New("the steps do not come to an end")

// flush puts transactions and marks them, unless that was done before.
func flush(s store.Store, side store.Side, batch []store.Transaction) error {
	last := batch[len(batch)-1].TID()
	if v, err := s.Mark(layout.XSerial); err != nil || zodb.TID(v) >= last {
		return err
	}
	if err := s.Put(side, batch, new(store.Progress)); err != nil {
		return err
	}
	return s.SetLast(side, last)
}

// thaw moves all of B into A.
func thaw(s store.Store) error {
	for range maxSteps {
		if _, empty, err := s.Thaw(3); err != nil || empty {
			return err
		}
	}
	return fmt.Errorf("thaw: %w", errEndless)
}

// bringBack brings back the items removed with a stamp.
func bringBack(s store.Store, stamp int64, limit int) (n store.Counts, err error) {
	b := s.BringBack(stamp)
	defer b.Close()
	for range maxSteps {
		step, err := b.Step(limit, func() error { return nil })
		n.Objects += step.Objects
		n.Revisions += step.Revisions
		n.Transactions += step.Transactions
		n.Blobs += step.Blobs
		n.Bytes += step.Bytes
		n.BlobBytes += step.BlobBytes
		if err != nil || step.Done {
			return n, err
		}
	}
	return n, fmt.Errorf("bring back: %w", errEndless)
}

// purge removes for good all items put aside before a stamp.
func purge(s store.Store, before int64) (n int64, err error) {
	p := s.Purge(before)
	defer p.Close()
	for range maxSteps {
		removed, done, err := p.Step(2)
		n += removed.Files
		if err != nil || done {
			return n, err
		}
	}
	return n, fmt.Errorf("purge: %w", errEndless)
}

// The two packs of the scenarios, with their stamps.
const firstStamp, secondStamp = 5, 6

// packed is a pack: an object that goes, old revisions, and transactions past which others are linked.
type packed struct {
	tid     zodb.TID
	stamp   int64
	links   []store.Link
	removal store.Removal
	back    []store.Link // as they were before
}

func firstPack() packed {
	return packed{
		tid: tid(3), stamp: firstStamp,
		links: []store.Link{{TID: tid(2), Previous: 0}}, back: []store.Link{{TID: tid(2), Previous: tid(1)}},
		removal: store.Removal{
			Objects:      []zodb.OID{2},
			Revisions:    []store.Revisions{{OID: 0, TIDs: []zodb.TID{tid(1)}}, {OID: 1, TIDs: []zodb.TID{tid(1)}}, {OID: 2, TIDs: []zodb.TID{tid(2), tid(3)}}},
			Transactions: []zodb.TID{tid(1)},
		},
	}
}

func secondPack() packed {
	return packed{
		tid: tid(4), stamp: secondStamp,
		links: []store.Link{{TID: tid(4), Previous: tid(2)}}, back: []store.Link{{TID: tid(4), Previous: tid(3)}},
		removal: store.Removal{Revisions: []store.Revisions{{OID: 3, TIDs: []zodb.TID{tid(3)}}}, Transactions: []zodb.TID{tid(3)}},
	}
}

// secondPackOfAnObject is the second pack with an object of which the first one takes an old revision.
func secondPackOfAnObject() packed {
	p := secondPack()
	p.removal.Objects = []zodb.OID{1}
	p.removal.Revisions = append([]store.Revisions{{OID: 1, TIDs: []zodb.TID{tid(2)}}}, p.removal.Revisions...)
	return p
}

// do packs. It may be repeated.
func (p packed) do(s store.Store, stamp int64) error {
	err := s.SetPacked(p.tid)
	if err == nil {
		err = s.Relink(p.links)
	}
	if err == nil {
		_, err = remove(s, stamp, p.removal)
	}
	return err
}

// undo brings back the files that packs have put aside, and links transactions as before.
func undo(s store.Store, packs ...packed) error {
	for _, p := range packs {
		if _, err := bringBack(s, p.stamp, 3); err != nil {
			return err
		}
	}
	there := make(map[zodb.TID]bool)
	for tid, err := range s.BroughtBack(context.Background()) {
		if err != nil {
			return err
		}
		there[tid] = true
	}
	var links []store.Link
	for _, p := range packs {
		for _, l := range p.back {
			if !there[l.TID] || !there[l.Previous] {
				return fmt.Errorf("transaction %s or %s was not brought back", l.TID, l.Previous)
			}
			links = append(links, l)
		}
	}
	return s.Relink(links)
}

// objects wants exactly some objects and counts.
func objects(s store.Store, c contents) error {
	listed := make(map[zodb.OID]bool)
	for oid, err := range s.Objects(context.Background()) {
		if err != nil {
			return err
		}
		listed[oid] = true
	}
	want := store.Counts{Objects: int64(len(c.current))}
	for n, text := range c.text {
		count(&want, n, int64(len(text)), int64(len(text)))
	}
	if got, err := s.Count(context.Background(), store.A); err != nil || got != want || int64(len(listed)) != want.Objects {
		return fmt.Errorf("counted %+v and listed %d objects, want %+v: %w", got, len(listed), want, errors.Join(err, errContent))
	}
	return nil
}

// allOf wants all of some names to be there.
func allOf(s store.Store, names map[layout.Name][]byte) error {
	for n, want := range names {
		if err := has(s, n, want); err != nil {
			return err
		}
	}
	return nil
}

// noneOf wants none of some names to be there.
func noneOf(s store.Store, names map[layout.Name][]byte) error {
	for n := range names {
		if err := hasNot(s, n); err != nil {
			return err
		}
	}
	return nil
}

// whilePacked tests the invariants while a pack removes: all that stays is there, nothing that is
// still there names something that is gone, and x.packed explains each removal.
func whilePacked(s store.Store, after, before contents, p packed) error {
	if err := errors.Join(after.all(s, false), whole(s, tid(4), before.text)); err != nil {
		return err
	}
	missing := 0
	for n := range before.text {
		if hasNot(s, n) == nil {
			missing++
			continue
		}
		if n.Kind == layout.KindRevision && hasNot(s, layout.Transaction(n.TID)) == nil {
			return fmt.Errorf("%s is there and its transaction is gone: %w", n, errContent)
		}
	}
	if v, err := s.Mark(layout.XPacked); err != nil || missing > 0 && zodb.TID(v) != p.tid {
		return fmt.Errorf("%d names are gone and x.packed is %s, want %s: %w", missing, zodb.TID(v), p.tid, errors.Join(err, errContent))
	}
	return nil
}

// wantLast wants x.serial.
func wantLast(s store.Store, want zodb.TID) error {
	if v, err := s.Mark(layout.XSerial); err != nil || zodb.TID(v) != want {
		return fmt.Errorf("the last transaction is %s, want %s: %w", zodb.TID(v), want, errors.Join(err, errContent))
	}
	return nil
}

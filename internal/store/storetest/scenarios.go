package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
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
		n += removed
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

// scenarios are the work of [Faults]. disk has the blobs, durably.
func scenarios(disk vfs.FS) ([]scenario, error) {
	all := Chain([]zodb.OID{0, 1}, []zodb.OID{1, 2}, []zodb.OID{3, 0, 2}, []zodb.OID{3})
	if err := stage(disk, all); err != nil {
		return nil, err
	}
	full, err := contentsOf(all, tid(4))
	if err != nil {
		return nil, err
	}
	// In several flushes: a store may keep what belongs to one in one place.
	fill := func(s store.Store) error {
		return errors.Join(flush(s, store.A, all[:1]), flush(s, store.A, all[1:3]), flush(s, store.A, all[3:]))
	}
	first, second := firstPack(), secondPack()
	packBoth := func(s store.Store) error {
		err := fill(s)
		if err == nil {
			err = first.do(s, first.stamp)
		}
		if err == nil {
			err = second.do(s, second.stamp)
		}
		return err
	}
	afterFirst, err := contentsOf(all, tid(4))
	if err != nil {
		return nil, err
	}
	goneFirst := afterFirst.removed(first.removal)
	if err := afterFirst.relinked(first.links); err != nil {
		return nil, err
	}
	afterBoth := contents{last: afterFirst.last, text: maps.Clone(afterFirst.text), previous: maps.Clone(afterFirst.previous), current: maps.Clone(afterFirst.current)}
	goneSecond := afterBoth.removed(second.removal)
	if err := afterBoth.relinked(second.links); err != nil {
		return nil, err
	}
	// Before the purge, the second pack can be taken back.
	afterPurge := contents{last: afterFirst.last, text: maps.Clone(afterFirst.text), current: afterFirst.current}
	none := func(s store.Store, gone map[layout.Name][]byte) error {
		for n := range gone {
			if err := hasNot(s, n); err != nil {
				return err
			}
		}
		return nil
	}
	return []scenario{{
		name: "flush", least: 60,
		work: func(s store.Store) error {
			err := flush(s, store.A, all[:2])
			if err == nil {
				err = flush(s, store.B, all[2:3])
			}
			if err != nil {
				return err
			}
			if err := thaw(s); err != nil {
				// The store goes on into B until it is tried again.
				return errors.Join(err, flush(s, store.B, all[3:]))
			}
			return flush(s, store.A, all[3:])
		},
		always: func(s store.Store) error {
			last, err := s.Mark(layout.XSerial)
			if err != nil {
				return err
			}
			c, err := contentsOf(all, zodb.TID(last))
			c.current = nil // which may be later
			return errors.Join(err, c.all(s, true))
		},
		end: func(s store.Store) error {
			last, err := s.LastInA()
			if err == nil && last != tid(4) {
				err = fmt.Errorf("the last transaction in A is %s: %w", last, errContent)
			}
			return errors.Join(err, full.all(s, true), objects(s, full))
		},
	}, {
		// Before x.serial is set all is durable.
		name: "put", least: 20,
		work:   func(s store.Store) error { return s.Put(store.A, all, new(store.Progress)) },
		always: func(s store.Store) error { return wantLast(s, 0) },
		end:    func(s store.Store) error { return errors.Join(wantLast(s, 0), full.all(s, true), objects(s, full)) },
	}, {
		name: "remove", least: 15, before: fill,
		work:   func(s store.Store) error { return first.do(s, first.stamp) },
		always: func(s store.Store) error { return removing(s, afterFirst, full, first) },
		end: func(s store.Store) error {
			return errors.Join(afterFirst.all(s, true), none(s, goneFirst), objects(s, afterFirst))
		},
	}, {
		name: "remove for good", least: 15, before: fill,
		work:   func(s store.Store) error { return first.do(s, 0) },
		always: func(s store.Store) error { return removing(s, afterFirst, full, first) },
		end: func(s store.Store) error {
			_, err := bringBack(s, 0, 3)
			return errors.Join(err, afterFirst.all(s, true), none(s, goneFirst), objects(s, afterFirst))
		},
	}, {
		name: "bring back", least: 20,
		before: packBoth,
		work:   func(s store.Store) error { return undo(s, second, first) },
		// A revision may come before its blob: no object that was packed leads to it yet.
		always: func(s store.Store) error { return errors.Join(afterBoth.all(s, false), whole(s, tid(4), nil)) },
		end:    func(s store.Store) error { return errors.Join(full.all(s, true), objects(s, full)) },
	}, {
		// Each step is durable.
		name: "a step of a purge", least: 3, before: packBoth,
		work: func(s store.Store) error {
			p := s.Purge(secondStamp)
			defer p.Close()
			_, _, err := p.Step(2)
			return err
		},
		always: func(s store.Store) error { return afterBoth.all(s, true) },
		end: func(s store.Store) error {
			n, err := bringBack(s, firstStamp, 3)
			if back := n.Objects + n.Revisions + n.Transactions + n.Blobs; err != nil || int(back) > len(goneFirst)+len(first.removal.Objects)-2 {
				return fmt.Errorf("%d came back after a step of two: %w", back, errors.Join(err, errContent))
			}
			return nil
		},
	}, {
		name: "purge", least: 8,
		before: packBoth,
		work: func(s store.Store) error {
			_, err := purge(s, secondStamp)
			return err
		},
		// The first pack's things are gone or not; of the second's nothing is, at any moment.
		always: func(s store.Store) error {
			err := errors.Join(afterBoth.all(s, true), whole(s, tid(4), full.text), undo(s, second))
			return errors.Join(err, afterPurge.all(s, true), onlyOf(s, goneSecond))
		},
		end: func(s store.Store) error {
			_, err := bringBack(s, 0, 3)
			if err == nil {
				err = s.Relink(second.back)
			}
			return errors.Join(err, afterPurge.all(s, true), none(s, goneFirst), objects(s, afterPurge))
		},
	}, {
		name: "tend",
		before: func(s store.Store) error {
			err := fill(s)
			if err == nil {
				err = first.do(s, 0)
			}
			return err
		},
		work: tend,
		always: func(s store.Store) error {
			return errors.Join(afterFirst.all(s, true), none(s, goneFirst), objects(s, afterFirst), whole(s, tid(4), full.text))
		},
		end: func(s store.Store) error { return errors.Join(afterFirst.all(s, true), objects(s, afterFirst)) },
	}}, nil
}

// onlyOf wants all of some names to be there.
func onlyOf(s store.Store, names map[layout.Name][]byte) error {
	for n, want := range names {
		if err := has(s, n, want); err != nil {
			return err
		}
	}
	return nil
}

// removing tests the invariants while a pack removes: all that stays is there, nothing that is
// still there names something that is gone, and x.packed explains each removal.
func removing(s store.Store, after, before contents, p packed) error {
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

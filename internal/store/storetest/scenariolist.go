package storetest

import (
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// scenarios are the work of [Faults]. disk has the blobs, durably.
func scenarios(disk vfs.FS) ([]scenario, error) {
	x, err := newFixture(disk)
	if err != nil {
		return nil, err
	}
	return []scenario{
		x.flushing(),
		x.putting(),
		x.removing("remove", x.first.stamp),
		x.removing("remove for good", 0),
		x.bringingBack(),
		x.bringingFirstBack(),
		x.stepOfPurge(),
		x.purging(),
		x.tending(),
		x.tendingAside(),
		x.bringingBackTended(),
		x.purgingTended(),
	}, nil
}

// flushing is a flush into A and one into B, and the thaw.
func (x *fixture) flushing() scenario {
	return scenario{
		name: "flush", least: 60,
		work: func(s store.Store) error {
			err := flush(s, store.A, x.all[:2])
			if err == nil {
				err = flush(s, store.B, x.all[2:3])
			}
			if err != nil {
				return err
			}
			if err := thaw(s); err != nil {
				// The store goes on into B until it is tried again.
				return errors.Join(err, flush(s, store.B, x.all[3:]))
			}
			return flush(s, store.A, x.all[3:])
		},
		always: func(s store.Store) error {
			last, err := s.Mark(layout.XSerial)
			if err != nil {
				return err
			}
			c, err := contentsOf(x.all, zodb.TID(last))
			c.current = nil // which may be later
			return errors.Join(err, c.all(s, true))
		},
		end: func(s store.Store) error {
			last, err := s.LastInA()
			if err == nil && last != tid(4) {
				err = fmt.Errorf("the last transaction in A is %s: %w", last, errContent)
			}
			return errors.Join(err, x.full.all(s, true), objects(s, x.full))
		},
	}
}

// putting is a flush before x.serial is set: all is durable by then.
func (x *fixture) putting() scenario {
	return scenario{
		name: "put", least: 20,
		work:   func(s store.Store) error { return s.Put(store.A, x.all, new(store.Progress)) },
		always: func(s store.Store) error { return wantLast(s, 0) },
		end:    func(s store.Store) error { return errors.Join(wantLast(s, 0), x.full.all(s, true), objects(s, x.full)) },
	}
}

// removing is the first pack, which puts aside with a stamp, or removes for good with stamp 0. A part of it
// that was put aside can be taken back whole, at every moment.
func (x *fixture) removing(name string, stamp int64) scenario {
	return scenario{
		name: name, least: 15, before: x.fill,
		work: func(s store.Store) error { return x.first.do(s, stamp) },
		always: func(s store.Store) error {
			err := whilePacked(s, x.afterFirst, x.full, x.first)
			if err == nil && stamp != 0 {
				err = errors.Join(undo(s, x.first), x.full.all(s, true))
			}
			return err
		},
		end: func(s store.Store) error {
			var err error
			if stamp == 0 {
				_, err = bringBack(s, 0, 3)
			}
			return errors.Join(err, x.afterFirst.all(s, true), noneOf(s, x.goneFirst), objects(s, x.afterFirst))
		},
	}
}

// bringingBack is the undo of both packs.
func (x *fixture) bringingBack() scenario {
	return scenario{
		name: "bring back", least: 20, before: x.packBoth,
		work: func(s store.Store) error { return undo(s, x.second, x.first) },
		// A revision may come before its blob: no object that was packed leads to it yet.
		always: func(s store.Store) error { return errors.Join(x.afterBoth.all(s, false), whole(s, tid(4), nil)) },
		end:    func(s store.Store) error { return errors.Join(x.full.all(s, true), objects(s, x.full)) },
	}
}

// bringingFirstBack brings back the first pack, and of the second one all that its objects need.
func (x *fixture) bringingFirstBack() scenario {
	back := func(s store.Store) error {
		_, err := bringBack(s, firstStamp, 3)
		return err
	}
	return scenario{
		name: "bring back the first of two packs", least: 15, before: x.packBoth, work: back,
		always: func(s store.Store) error { return errors.Join(x.afterBoth.all(s, false), whole(s, tid(4), nil)) },
		end: func(s store.Store) error {
			return errors.Join(back(s), x.afterBoth.all(s, false), whole(s, tid(4), x.full.text), allOf(s, x.goneFirst), undo(s, x.second, x.first), x.full.all(s, true))
		},
	}
}

// stepOfPurge is one step of the purge of the first pack: each is durable.
func (x *fixture) stepOfPurge() scenario {
	return scenario{
		name: "a step of a purge", least: 3, before: x.packBoth,
		work: func(s store.Store) error {
			p := s.Purge(secondStamp)
			defer p.Close()
			_, _, err := p.Step(2)
			return err
		},
		// What it has left can be brought back at every moment.
		always: func(s store.Store) error {
			err := x.afterBoth.all(s, true)
			if err == nil {
				_, err = bringBack(s, 0, 3)
			}
			return errors.Join(err, x.afterBoth.all(s, false), wholeObjects(s, x.full))
		},
		end: func(s store.Store) error {
			_, err := bringBack(s, firstStamp, 3)
			err = errors.Join(err, wholeObjects(s, x.full))
			back := 0 // of the first pack; with it may come a part of the second
			for n := range x.goneFirst {
				if _, err := get(s, n); err == nil {
					back++
				}
			}
			for _, oid := range x.first.removal.Objects {
				if _, err := s.Current(oid); err == nil {
					back++
				}
			}
			if left := len(x.goneFirst) + len(x.first.removal.Objects) - 2; err != nil || back > left {
				return fmt.Errorf("%d came back after a step of two, want up to %d: %w", back, left, errors.Join(err, errContent))
			}
			return nil
		},
	}
}

// tendingAside is the work that a store does for itself when the first pack was purged, and the second
// one can be taken back, at every moment.
func (x *fixture) tendingAside() scenario {
	sc := x.purging()
	sc.name, sc.least, sc.work = "tend with some things aside", 0, tend
	sc.before = func(s store.Store) error {
		err := x.packBoth(s)
		if err == nil {
			_, err = purge(s, secondStamp)
		}
		return err
	}
	return sc
}

// packAndTend packs twice, and has the store do its own work.
func (x *fixture) packAndTend(s store.Store) error {
	err := x.packBoth(s)
	if err == nil {
		err = tend(s)
	}
	return err
}

// bringingBackTended is the undo of both packs after the store has done its own work.
func (x *fixture) bringingBackTended() scenario {
	sc := x.bringingBack()
	sc.name, sc.least, sc.before = "bring back after that", 10, x.packAndTend
	return sc
}

// purgingTended is the purge of the first pack after the store has done its own work, which it does again
// after it.
func (x *fixture) purgingTended() scenario {
	sc := x.purging()
	work := sc.work
	sc.name, sc.least, sc.before = "purge after that", 3, x.packAndTend
	sc.work = func(s store.Store) error {
		err := work(s)
		if err == nil {
			err = tend(s)
		}
		return err
	}
	return sc
}

// purging is the purge of the first pack. The second one can be taken back at every moment.
func (x *fixture) purging() scenario {
	return scenario{
		name: "purge", least: 8, before: x.packBoth,
		work: func(s store.Store) error {
			_, err := purge(s, secondStamp)
			return err
		},
		// The first pack's things are gone or not; of the second's nothing is, at any moment.
		always: func(s store.Store) error {
			err := errors.Join(x.afterBoth.all(s, true), whole(s, tid(4), x.full.text), undo(s, x.second))
			return errors.Join(err, x.afterPurge.all(s, true), allOf(s, x.goneSecond))
		},
		end: func(s store.Store) error {
			_, err := bringBack(s, 0, 3)
			if err == nil {
				err = s.Relink(x.second.back)
			}
			return errors.Join(err, x.afterPurge.all(s, true), noneOf(s, x.goneFirst), objects(s, x.afterPurge))
		},
	}
}

// tending is the work that a store does for itself, after a pack that removed for good.
func (x *fixture) tending() scenario {
	return scenario{
		name:   "tend",
		before: func(s store.Store) error { return x.packFirst(s, 0) },
		work:   tend,
		always: func(s store.Store) error {
			return errors.Join(x.afterFirst.all(s, true), noneOf(s, x.goneFirst), objects(s, x.afterFirst), whole(s, tid(4), x.full.text))
		},
		end: func(s store.Store) error { return errors.Join(x.afterFirst.all(s, true), objects(s, x.afterFirst)) },
	}
}

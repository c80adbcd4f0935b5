package bundled_test

import (
	"context"
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestATableThatMissedAListIsRefreshed: a pack removes an object while the table cannot be written, and the
// process is killed. The next one does not take the removed revision for the current one, although the table has
// a note of its bundle.
func TestATableThatMissedAListIsRefreshed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every  int                       // of the commits of the table
		before func(r *missedList) error // makes the note
	}{
		"noted as behind": {every: 64, before: func(r *missedList) error {
			return errors.Join(r.tend(), r.again(), r.tend())
		}},
		"its sources are noted": {every: 64, before: func(r *missedList) error {
			return errors.Join(r.tend(), r.tend())
		}},
		"the list was noted when it was pending": {every: 1, before: func(r *missedList) error {
			_, err := r.h.s.Remove(101, r.object())
			return errors.Join(err, r.killed())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &missedList{disk: crashfs.New(1), every: c.every}
			if err := errors.Join(makeEmpty(r.disk), r.open()); err != nil {
				t.Fatal(err)
			}
			r.h = newHistory(r.h.s, 3)
			if err := errors.Join(r.h.thaw(), r.h.put(store.A), r.h.put(store.A), r.again(), c.before(r)); err != nil {
				t.Fatal(err)
			}
			fault := &tableFault{n: 1, lasts: true}
			r.f.Decide(fault.decide)
			if _, err := r.h.s.Remove(101, r.object()); err != nil {
				t.Fatal(err)
			}
			if err := r.h.s.Sync(); err != nil || !fault.failed {
				t.Fatalf("the table failed %t: %v", fault.failed, err)
			}
			if err := r.killed(); err != nil {
				t.Fatal(err)
			}
			if has, rebuilt := r.h.s.HasTable(); !has || rebuilt {
				t.Errorf("there is a table: %t; it was made anew: %t", has, rebuilt)
			}
			compareWithout(t, r.h.s, r.disk, name)
			if tid, err := r.h.s.Current(r.oid); !errors.As(err, new(*zodb.KeyError)) {
				t.Errorf("the removed object is at %s: %v", tid, err)
			}
			if err := r.h.s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// missedList is a store of which an object is removed.
type missedList struct {
	disk  *crashfs.FS
	f     *errfs.FS
	h     *history
	every int
	oid   zodb.OID
}

func (r *missedList) open() error {
	r.f = errfs.New(r.disk, nil)
	s, err := openEvery(r.f, r.every)
	if err != nil {
		return err
	}
	if r.h == nil {
		r.h = new(history)
	}
	r.h.s = s
	return s.SyncFound()
}

// again closes the store and opens it.
func (r *missedList) again() error { return errors.Join(r.h.s.Close(), r.open(), r.h.thaw()) }

// killed opens the store again, after its process was killed.
func (r *missedList) killed() error {
	r.disk = r.disk.Killed()
	return errors.Join(r.open(), r.h.thaw())
}

// tend does one piece of work.
func (r *missedList) tend() error {
	more, err := storetest.Tend(context.Background(), r.h.s, store.Tending{})
	if err == nil && !more {
		err = errors.New("there is nothing to do")
	}
	return err
}

// object is the first one, as it is removed.
func (r *missedList) object() store.Removal {
	for len(r.h.revisions(r.oid)) == 0 {
		r.oid++
	}
	return store.Removal{Objects: []zodb.OID{r.oid}, Revisions: []store.Revisions{{OID: r.oid, TIDs: r.h.revisions(r.oid)}}}
}

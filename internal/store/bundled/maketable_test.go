package bundled_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// testClock is a clock that the test moves.
type testClock struct{ add atomic.Int64 }

func (c *testClock) now() time.Time { return time.Unix(1e9, 0).Add(time.Duration(c.add.Load())) }

func (c *testClock) pass(d time.Duration) { c.add.Add(int64(d)) }

// tableFault lets operations on the files of the table fail.
type tableFault struct {
	n      int  // the first that fails; 0: none
	lasts  bool // so do all after it
	asked  int
	failed bool
}

func (f *tableFault) decide(o errfs.Op) error {
	if !o.Changes() || !strings.Contains(o.Name, "current") {
		return nil
	}
	f.asked++
	if f.n == 0 || f.asked < f.n || f.asked > f.n && !f.lasts {
		return nil
	}
	f.failed = true
	return syscall.ENOSPC
}

// TestATableThatFailedIsMadeAgain lets each operation fail by which the table is made, extended and
// committed, once or as long as the disk is full. All reads are right meanwhile, no half of a table
// is left, and when there is room again the store has a table without an open.
func TestATableThatFailedIsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, lasts := range []bool{false, true} {
		t.Run(fmt.Sprintf("the disk stays full %t", lasts), func(t *testing.T) {
			t.Parallel()
			step := 3
			if testing.Short() {
				step = 11
			}
			for round := range hometest.Rounds(t, 1) {
				for n := 1 + round%step; ; n += step {
					f := &tableFault{n: n, lasts: lasts}
					if err := f.run(t, n/step%2 == 0); err != nil {
						t.Fatalf("operation %d: %v", n, err)
					}
					if !f.failed {
						if n < 20 {
							t.Errorf("%d operations", n)
						}
						break
					}
				}
			}
		})
	}
}

// run makes work on a store whose table fails. closed: it is closed before there is room again.
func (f *tableFault) run(t *testing.T, closed bool) error {
	disk := crashfs.New(1)
	if err := makeEmpty(disk); err != nil {
		return err
	}
	clock := new(testClock)
	faulty := errfs.New(disk, f.decide)
	s, err := bundled.New(bundled.Options{FS: faulty, Sync: true, DirSync: true, Clock: clock.now, MergeFactor: 2, CommitEvery: 1})
	if err != nil {
		return err
	}
	h := newHistory(s, 3)
	if err := h.thaw(); err != nil {
		return err
	}
	for range 2 {
		if err := errors.Join(h.put(store.A), h.put(store.A), h.pack(), h.put(store.A), tendAll(s), h.back()); err != nil {
			return err
		}
	}
	compareWithout(t, s, disk, "while it fails")
	if closed {
		if err := s.Close(); err != nil {
			return err
		}
		return atMostMissing(disk)
	}
	faulty.Decide(nil)
	clock.pass(time.Hour)
	if err := tendAll(s); err != nil {
		return err
	}
	if has, _ := s.HasTable(); !has {
		return errors.New("there is no table, although there is room")
	}
	compareWithout(t, s, disk, "made again")
	if err := errors.Join(h.put(store.A), h.pack(), s.Close()); err != nil {
		return err
	}
	s, err = openEvery(disk, 1)
	if err != nil {
		return err
	}
	if has, rebuilt := s.HasTable(); !has || rebuilt {
		return fmt.Errorf("opened again: there is a table: %t, made anew: %t", has, rebuilt)
	}
	compareWithout(t, s, disk, "opened again")
	return s.Close()
}

// atMostMissing returns an error if a check would say that the table is damaged.
func atMostMissing(disk vfs.FS) error {
	t, err := current.Open(disk, [16]byte{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = t.Close()
	}
	return err
}

func tendAll(s store.Tender) error {
	for range 1000 {
		if more, err := storetest.Tend(context.Background(), s, store.Tending{}); err != nil || !more {
			return err
		}
	}
	return errors.New("there is always more to do")
}

// TestATableWaitsForRoom: none is tried where it has no room, or where space is short, and the store
// says when to look again.
func TestATableWaitsForRoom(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	all := storetest.Chain([]zodb.OID{1, 2}, []zodb.OID{2, 3})
	if err := errors.Join(s.Put(store.A, all, new(store.Progress)), s.SetLast(store.A, all[1].TID()), s.Close(), current.Remove(disk)); err != nil {
		t.Fatal(err)
	}
	clock, notes := new(testClock), 0
	fault := &tableFault{n: 1, lasts: true}
	faulty := errfs.New(disk, fault.decide)
	s, err := bundled.New(bundled.Options{FS: faulty, Sync: true, DirSync: true, Clock: clock.now, Warn: func(text string, err error) {
		if notes++; !strings.Contains(text, "table of current revisions") || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("warned of %q, %v", text, err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	look := func(say string, o store.Tending, found bool) time.Duration {
		t.Helper()
		asked := fault.asked
		c, err := s.Tend(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Prepare(t.Context())
		if err == nil && got {
			_, err = c.Publish()
		}
		again := c.Again()
		if err := errors.Join(err, c.Close()); err != nil {
			t.Fatal(err)
		}
		if got != found || !found && fault.asked != asked {
			t.Errorf("%s: found %t, want %t; %d operations", say, got, found, fault.asked-asked)
		}
		return again
	}
	if again := look("at once", store.Tending{}, false); again <= 0 || again > time.Minute {
		t.Errorf("again after %v", again)
	}
	clock.pass(time.Hour)
	if again := look("space is short", store.Tending{Reclaim: true, Room: 1 << 30}, false); again <= 0 || again > time.Minute {
		t.Errorf("space is short: again after %v", again)
	}
	if again := look("no room", store.Tending{Room: 1000}, false); again <= 0 || again > time.Minute {
		t.Errorf("no room: again after %v", again)
	}
	look("room, but the disk is full", store.Tending{Room: 1 << 30}, true)
	faulty.Decide(nil)
	if again := look("after that", store.Tending{Room: 1 << 30}, false); again <= 0 || again > time.Minute {
		t.Errorf("after that: again after %v", again)
	}
	clock.pass(time.Hour)
	look("room", store.Tending{Room: 1 << 30}, true)
	if has, _ := s.HasTable(); !has || notes != 1 {
		t.Errorf("there is a table: %t; warned %d times", has, notes)
	}
	if again := look("nothing more", store.Tending{Room: 1 << 30}, false); again != 0 {
		t.Errorf("nothing more to do, and again after %v", again)
	}
}

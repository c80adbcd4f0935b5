package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestLoadBeforeCachedNeverDiffersFromLoadBefore(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {CacheSize: 20_000}, {CacheSize: -1}, {SpoolSize: 600}} {
		s := newStorage(t, o)
		if err := s.WaitNormal(t.Context()); err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		hits := 0
		for i := range 80 {
			oid := zodb.OID(rnd.IntN(6))
			switch n := rnd.IntN(12); {
			case n == 0:
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			case n == 1 && s.serialFor(t, oid) != 0:
				commit(t, s, change{oid: oid})
			default:
				commit(t, s, change{oid: oid, data: rec(fmt.Sprintf("%0*d", rnd.IntN(500), i))})
			}
			for oid := range zodb.OID(6) {
				current := s.serialFor(t, oid)
				for _, before := range []zodb.TID{zodb.MaxTID, s.LastTransaction() + 1, s.LastTransaction(), current, current - 1, 1} {
					got, ok := s.LoadBeforeCached(oid, before)
					if !ok {
						continue
					}
					hits++
					want := s.loadUncached(t, oid, before)
					if want == nil || want.Serial != got.Serial || want.End != got.End || !bytes.Equal(want.Data, got.Data) {
						t.Fatalf("step %d: object %s before %s: got %s to %s, want %+v", i, oid, before, got.Serial, got.End, want)
					}
				}
			}
		}
		if o.CacheSize < 0 && hits > 0 || o.CacheSize >= 0 && hits < 300 {
			t.Errorf("%+v: %d hits", o, hits)
		}
	}
}

// loadUncached is LoadBefore without anything that is kept in memory.
func (s *Storage) loadUncached(t testing.TB, oid zodb.OID, before zodb.TID) *zodb.Revision {
	t.Helper()
	read := func(tid zodb.TID) (*record.Object, error) {
		r, ok := s.state.Current(oid)
		if tid != 0 {
			r, ok = s.state.Revision(oid, tid)
		}
		r.Object = nil
		if ok {
			return s.FromLog(r)
		}
		if tid != 0 {
			return s.FromFile(layout.Revision(oid, tid), oid, tid)
		}
		return s.Direct().Current(t.Context(), oid)
	}
	o, err := read(0)
	var end zodb.TID
	for err == nil && o.Serial >= before {
		if end = o.Serial; o.Previous == 0 {
			return nil
		}
		o, err = read(o.Previous)
	}
	if err != nil || s.home.Full && o.Gone() {
		return nil
	}
	return &zodb.Revision{Data: o.Data, Serial: o.Serial, End: end}
}

func TestLoadsFromMemoryDoNotTouchTheDisk(t *testing.T) {
	s := newStorage(t, Options{})
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	tid := commit(t, s, change{oid: 1, data: rec("one")})
	if _, ok := s.LoadBeforeCached(1, tid+1); !ok {
		t.Error("what was just committed is not in memory")
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.LoadBeforeCached(1, tid+1); !ok {
		t.Error("what was just flushed is not in memory")
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.LoadBefore(context.Background(), 1, tid+1); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations for a load from memory, want that of the Revision", n)
	}
	s.state.ForgetCached(1)
	if _, ok := s.LoadBeforeCached(1, tid+1); ok {
		t.Error("what was forgotten is in memory")
	}
	load(t, s, 1)
	if _, ok := s.LoadBeforeCached(1, tid+1); !ok {
		t.Error("what was loaded is not in memory")
	}
	// A read-only storage sees the later commits of the other one, so it keeps nothing.
	r, err := Open(t.Context(), s.Home(), Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	load(t, r, 1)
	if _, ok := r.LoadBeforeCached(1, tid+1); ok {
		t.Error("a read-only storage answers from memory")
	}
}

// TestNoLoadIsOlderThanWhatWasPublishedBeforeItBegan commits, flushes, enters
// and leaves snapshots, with readers beside it and a cache that is too small.
func TestNoLoadIsOlderThanWhatWasPublishedBeforeItBegan(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	for _, class := range []zodb.Class{zodb.ClassFull, zodb.ClassMinimal} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			home := newHome(t, CreateOptions{Class: class, Format: "chunky", Set: map[string]string{
				"journal.flush_transaction_threshold": "7", "journal.flush_file_threshold": "60"}})
			stressReads(t, open(t, home, Options{CacheSize: 150_000}), class)
		})
	}
}

func stressReads(t *testing.T, s *Storage, class zodb.Class) {
	const objects = 60
	content := func(oid zodb.OID, n uint64) []byte {
		b := binary.BigEndian.AppendUint64(oid.Bytes(), n)
		return rec(string(bytes.Repeat(b, 1+int(n%40))))
	}
	parse := func(data []byte) (zodb.OID, uint64) { // the entries of content
		b := data[len(data)-18:]
		return zodb.OIDFromBytes(b), binary.BigEndian.Uint64(b[8:])
	}
	var published [objects]struct{ n, tid atomic.Uint64 } // raised in the callback
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var commits, loads, fromMemory atomic.Int64
	// It takes as long as a busy machine needs for a result.
	begun, long := time.Now(), 6*time.Second
	if testing.Short() {
		long = time.Second / 2
	}
	wg.Go(func() {
		defer cancel()
		for !t.Failed() && (time.Since(begun) < long || commits.Load() < 50 || fromMemory.Load() < 100) {
			time.Sleep(10 * time.Millisecond)
		}
	})
	for w := range 3 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 1))
			for ctx.Err() == nil {
				txn, err := s.txns.Begin(context.Background(), zodb.TxnMeta{}, zodb.BeginOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				stored := make(map[zodb.OID]uint64)
				for range 1 + rnd.IntN(5) {
					oid := zodb.OID(rnd.IntN(objects/3)*3 + w) // each writer has objects of his own
					n := published[oid].n.Load() + 1
					serial, err := s.Serial(context.Background(), oid)
					if err == nil && zodb.TID(published[oid].tid.Load()) != serial {
						err = fmt.Errorf("the serial of object %s is %s, not %s", oid, serial, zodb.TID(published[oid].tid.Load()))
					}
					if err = errors.Join(err, txn.Store(oid, serial, content(oid, n))); err != nil {
						t.Error(err)
						return
					}
					stored[oid] = n
				}
				if err := txn.Vote(context.Background()); err != nil {
					t.Error(err)
					return
				}
				if _, err := txn.Finish(context.Background(), func(tid zodb.TID) {
					for oid, n := range stored {
						published[oid].tid.Store(uint64(tid))
						published[oid].n.Store(n)
					}
				}); err != nil {
					t.Error(err)
					return
				}
				commits.Add(1)
			}
		})
	}
	for r := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(r), 2))
			for ctx.Err() == nil {
				oid := zodb.OID(rnd.IntN(objects))
				least := published[oid].n.Load()
				if least == 0 {
					continue
				}
				var rev zodb.Revision
				ok := false
				if rnd.IntN(2) == 0 {
					rev, ok = s.LoadBeforeCached(oid, zodb.MaxTID)
				}
				if ok {
					fromMemory.Add(1)
				} else {
					var err error
					if rev, err = s.Load(context.Background(), oid); err != nil {
						t.Error(err)
						return
					}
				}
				got, n := parse(rev.Data)
				if got != oid || n < least || !bytes.Equal(rev.Data, content(oid, n)) {
					t.Errorf("object %s: revision %d of %s, and %d was published before (from memory: %v)", oid, n, got, least, ok)
					return
				}
				if loads.Add(1)%100 == 0 {
					time.Sleep(time.Millisecond) // two processors are soon taken
				}
			}
		})
	}
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(9, 3))
		for i := 0; ctx.Err() == nil; i++ {
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
			switch rnd.IntN(4) {
			case 0:
				code := fmt.Sprint(i)
				if err := s.EnterSnapshot(ctx, code); err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
				if err := s.LeaveSnapshot(context.Background(), code); err != nil {
					t.Error(err)
					return
				}
			case 1:
				s.state.ForgetCached(zodb.OID(rnd.IntN(objects)))
			default:
				_ = s.Flush(ctx)
			}
		}
	})
	wg.Wait()
	t.Logf("%s: %d commits, %d loads, %d of them from memory", class, commits.Load(), loads.Load(), fromMemory.Load())
}

// hookFS calls something before a whole file is read.
type hookFS struct {
	vfs.FS
	before func(name string)
}

func (f *hookFS) ReadFile(name string) ([]byte, error) {
	f.before(name)
	return f.FS.ReadFile(name)
}

func TestWhatWasReadBeforeAFlushIsNotKeptAfterIt(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	var hook atomic.Pointer[string] // the name before whose reading something happens
	var s *Storage
	s = open(t, home, Options{fs: &hookFS{f, func(name string) {
		if at := hook.Load(); at != nil && *at == name && hook.CompareAndSwap(at, nil) {
			commit(t, s, change{oid: 1, data: rec("new"), serial: s.LastTransaction()})
			if err := s.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			s.state.ForgetCached(1) // the flush has put it there
		}
	}}})
	tid := commit(t, s, change{oid: 1, data: rec("old")})
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	s.state.ForgetCached(1)
	name := pathOf(s, "A", layout.Revision(1, tid))
	hook.Store(&name)
	if got := load(t, s, 1); got != string(rec("old")) || hook.Load() != nil {
		t.Fatalf("got %q", got)
	}
	if got := load(t, s, 1); got != string(rec("new")) {
		t.Errorf("after the flush: %q", got)
	}
}

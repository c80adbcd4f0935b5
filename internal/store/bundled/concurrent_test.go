package bundled_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestReadersBesideAWriter: while members are put, packed, brought back, moved, merged and rewritten
// meanwhile, a reader finds a revision as it was written, or none.
func TestReadersBesideAWriter(t *testing.T) {
	t.Parallel()
	rounds := hometest.Rounds(t, 2)
	if testing.Short() {
		rounds = 1
	}
	for seed := range rounds {
		s, _ := newStore(t)
		h := newHistory(s, uint64(seed))
		if seed%2 == 0 { // bundles of which something is aside are written again all the time
			h.aside, h.least = 3, 1e-9
		}
		var stop atomic.Bool
		var last atomic.Uint64
		var reads atomic.Int64
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
				for !stop.Load() {
					if err := readSome(s, r, zodb.TID(last.Load())); err != nil {
						t.Error(err)
						return
					}
					reads.Add(1)
				}
			})
		}
		for range 12 {
			if err := h.work(); err != nil {
				t.Error(err)
				break
			}
			last.Store(uint64(h.last))
		}
		for n := reads.Load(); reads.Load() < n+20 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		stop.Store(true)
		wg.Wait()
		if err := errors.Join(h.check(s), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// work does one of everything.
func (h *history) work() error {
	h.s.UseB()
	err := errors.Join(h.put(store.B), h.put(store.B), h.thaw(), h.put(store.A), h.put(store.A), h.pack(), h.put(store.A))
	if h.r.IntN(2) == 0 {
		err = errors.Join(err, h.back())
	}
	meanwhile := func() error { return h.put(store.A) }
	if h.r.IntN(2) == 0 {
		meanwhile = h.pack
	}
	return errors.Join(err, h.tendBeside(meanwhile), h.purge(), h.tend(func() error { return nil }))
}

func readSome(s *bundled.Store, r *rand.Rand, last zodb.TID) error {
	oid := zodb.OID(r.IntN(12))
	rec, err := s.Load(oid)
	if err == nil {
		err = isWritten(rec.Data, rec.Place, oid, rec.Serial)
	}
	if err != nil && !errors.Is(err, zodb.ErrNotFound) {
		return fmt.Errorf("load %s: %w", oid, err)
	}
	if last == 0 {
		return nil
	}
	tid := zodb.TID(1+r.Uint64N(uint64(last)>>20)) << 20
	b, place, err := s.Get(layout.Transaction(tid))
	if err == nil {
		_, err = record.ParseTransactionAs(b, place, tid, true)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("transaction %s: %w", tid, err)
	}
	b, place, err = s.Get(layout.Revision(oid, tid))
	if err == nil {
		err = isWritten(b, place, oid, tid)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("revision %s of %s: %w", tid, oid, err)
	}
	return nil
}

// isWritten returns an error for a content that storetest.Txn did not write.
func isWritten(b []byte, place string, oid zodb.OID, tid zodb.TID) error {
	o, err := record.ParseObjectAs(b, place, oid, tid, true)
	if err == nil && string(o.Data) != string(tid.Bytes()) {
		err = fmt.Errorf("%s: %q is not what was written", place, o.Data)
	}
	return err
}

// TestBesideAnotherProcess: a store that only reads finds all that another one has put, moved and merged.
func TestBesideAnotherProcess(t *testing.T) {
	t.Parallel()
	disk, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := makeEmpty(disk); err != nil {
		t.Fatal(err)
	}
	s, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now, MergeFactor: 2})
	if err != nil {
		t.Fatal(err)
	}
	beside, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now, Beside: true})
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(s, 1)
	for i := range 10 {
		h.aside = 1 + i%3
		if err := errors.Join(h.work(), h.check(beside)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(beside.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

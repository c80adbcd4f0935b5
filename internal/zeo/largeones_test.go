package zeo

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// countedReads is a storage whose records all come from the disk, and that counts how often.
type countedReads struct {
	*engine.Storage
	n atomic.Int64
}

func (s *countedReads) LoadBeforeCached(zodb.OID, zodb.TID) (zodb.Revision, bool) {
	return zodb.Revision{}, false
}

func (s *countedReads) LoadBefore(ctx context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	s.n.Add(1)
	return s.Storage.LoadBefore(ctx, oid, before)
}

func (s *countedReads) LoadSerial(ctx context.Context, oid zodb.OID, tid zodb.TID) ([]byte, error) {
	s.n.Add(1)
	return s.Storage.LoadSerial(ctx, oid, tid)
}

// TestLargeRecordsAreNotReadWithoutMemory: many loads of one wait for memory, none of which has read it.
// When there is memory each is answered, and has read it once. A record that is small now is as any other.
func TestLargeRecordsAreNotReadWithoutMemory(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for _, name := range []string{"loadBefore", "loadSerial"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) {
				s := &countedReads{Storage: openStorage(t, memoryHome(t), engine.Options{})}
				ts := serve(t, Options{Clock: time.Now, Limits: Limits{Memory: 64 << 20}, Storages: []StorageOptions{{Name: "1", Storage: s}}})
				c := ts.client(e)
				const size = 2 * largeBytes
				tid := c.storeLarge(1, size)
				if n := ts.order[0].largeOnes.of(1); n < size {
					t.Errorf("the record that was stored counts as one of %d bytes", n)
				}
				at := map[string]zodb.TID{"loadBefore": tid + 1, "loadSerial": tid}[name]
				c.call(name, zodb.OID(1), at)
				before, free := s.n.Load(), ts.budgets.answers.Free()
				others := ts.budgets.answers.Share(0)
				others.Add(free)
				const loads = 20
				var ids []int64
				for range loads {
					ids = append(ids, c.request(name, zodb.OID(1), at))
				}
				eventually(t, "all wait for memory", func() bool { return ts.budgets.answers.Waiting() == loads })
				if n := s.n.Load() - before; n != 0 {
					t.Errorf("%d reads without memory for the record", n)
				}
				others.Give(free)
				for range ids {
					if m := c.message(); m.Name != ".reply" || m.Flag != int64(0) {
						t.Fatalf("%v", m)
					}
				}
				if n := s.n.Load() - before; n != loads {
					t.Errorf("%d reads, want %d", n, loads)
				}
				if name == "loadSerial" {
					return
				}
				later := c.commit(1, tid, "small")
				c.call(name, zodb.OID(1), later+1)
				if n := ts.order[0].largeOnes.of(1); n != 0 {
					t.Errorf("the small record counts as one of %d bytes", n)
				}
			})
		})
	}
}

// TestLargeObjectsAreRememberedInBounds, the newest of them included.
func TestLargeObjectsAreRememberedInBounds(t *testing.T) {
	t.Parallel()
	var l largeOnes
	l.read(1, largeBytes-1)
	if l.of(1) != 0 || !l.none.Load() {
		t.Error("a small one is remembered")
	}
	for oid := range zodb.OID(2 * mostLargeOnes) {
		l.read(oid, largeBytes)
		if l.of(oid) != largeBytes {
			t.Fatalf("the one just read is not known: %d", oid)
		}
	}
	if n := len(l.sizes); n != mostLargeOnes {
		t.Errorf("%d are remembered", n)
	}
}

// standingReads is a storage whose reads stand still until go on.
type standingReads struct {
	zodb.Storage
	stand  atomic.Bool
	now    atomic.Int64
	goesOn chan struct{}
}

func (s *standingReads) LoadBefore(ctx context.Context, oid zodb.OID, tid zodb.TID) (*zodb.Revision, error) {
	if s.stand.Load() {
		s.now.Add(1)
		<-s.goesOn
	}
	return s.Storage.LoadBefore(ctx, oid, tid)
}

func (s *standingReads) Load(ctx context.Context, oid zodb.OID) (zodb.Revision, error) {
	if s.stand.Load() {
		s.now.Add(1)
		<-s.goesOn
	}
	return s.Storage.Load(ctx, oid)
}

func (s *standingReads) LoadBeforeCached(zodb.OID, zodb.TID) (zodb.Revision, bool) {
	return zodb.Revision{}, false
}

// TestUnknownLargeRecordsAreReadInBounds: many clients ask for different records that were not read before. At most two
// are read at once with a memory of 64 MB before anything is known of them, and where there are large ones of 8 MB; after
// many small ones as many as ever.
func TestUnknownLargeRecordsAreReadInBounds(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]func(tid zodb.TID) []any{
		"loadBefore":      func(tid zodb.TID) []any { return []any{zodb.OID(1), tid + 1} },
		"getTid":          func(zodb.TID) []any { return []any{zodb.OID(1)} },
		"record_iternext": func(zodb.TID) []any { return []any{zodb.OID(1)} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unknownLargeRecords(t, name, args)
		})
	}
}

func unknownLargeRecords(t *testing.T, name string, args func(tid zodb.TID) []any) {
	s := &standingReads{Storage: openStorage(t, memoryHome(t), engine.Options{}), goesOn: make(chan struct{})}
	ts := serve(t, Options{Clock: time.Now, Limits: Limits{Memory: 64 << 20}, Storages: []StorageOptions{{Name: "1", Storage: s}}})
	const clients = 5
	each := 4
	if name == "record_iternext" {
		each = 1 // each connection reads one at a time
	}
	var all []*rawClient
	for range clients {
		all = append(all, ts.client(wire.Pickle))
	}
	tid := all[0].commit(1, 0, "x")
	known := &ts.order[0].largeOnes
	for _, tt := range []struct {
		name    string
		before  func()
		bounded bool
	}{
		{"nothing is known", func() {}, true},
		{"after the first small ones", func() {
			for range 2 * smallOnes {
				known.read(1, 100)
			}
		}, false},
		{"of 8 MB", func() { known.read(2, 8<<20) }, true},
		{"after small ones", func() {
			for range 4 * smallOnes {
				known.read(1, 100)
			}
		}, false},
	} {
		tt.before()
		s.now.Store(0)
		s.stand.Store(true)
		for _, c := range all {
			for range each {
				c.request(name, args(tid)...)
			}
		}
		// Where large ones are expected, one of each connection waits.
		eventually(t, "the others wait", func() bool {
			n := s.now.Load() + int64(ts.budgets.reads.Waiting())
			return n == int64(clients*each) || tt.bounded && n == clients
		})
		if n := s.now.Load(); n == 0 || n <= 2 != tt.bounded {
			t.Errorf("%s: %d reads at once; bounded: %v", tt.name, n, tt.bounded)
		}
		s.stand.Store(false)
		for range s.now.Load() {
			s.goesOn <- struct{}{}
		}
		for _, c := range all {
			for answers := 0; answers < each; {
				m := c.message()
				if m.Name == "invalidateTransaction" || m.Name == "info" {
					continue
				}
				answers++
				if m.Name != ".reply" || m.Flag != int64(0) {
					t.Fatalf("%v", m)
				}
			}
		}
	}
}

// orderedReads are standingReads that tell their order.
type orderedReads struct {
	standingReads
	began chan zodb.OID
}

func (s *orderedReads) LoadBefore(ctx context.Context, oid zodb.OID, tid zodb.TID) (*zodb.Revision, error) {
	s.began <- oid
	return s.standingReads.LoadBefore(ctx, oid, tid)
}

// TestManyUnknownLoadsKeepNobodyWaiting: a client asks for many records of which nothing is known, where large ones are
// expected. Another one that asks for one has it after one of these, not after all.
func TestManyUnknownLoadsKeepNobodyWaiting(t *testing.T) {
	t.Parallel()
	const many = 40
	s := &orderedReads{began: make(chan zodb.OID, many+1)}
	s.Storage, s.goesOn = openStorage(t, memoryHome(t), engine.Options{}), make(chan struct{})
	ts := serve(t, Options{Clock: time.Now, Limits: Limits{Memory: 64 << 20}, Storages: []StorageOptions{{Name: "1", Storage: s}}})
	greedy, other := ts.client(wire.Pickle), ts.client(wire.Msgpack)
	tid := greedy.commit(1, 0, "x")
	s.stand.Store(true)
	for range many {
		greedy.request("loadBefore", zodb.OID(1), tid+1)
	}
	if oid := <-s.began; oid != 1 {
		t.Fatalf("object %s is read first", oid)
	}
	eventually(t, "the others are there", func() bool { return ts.order[0].stats.loads.Load() == many })
	waiting := ts.budgets.reads.Waiting()
	id := other.request("loadBefore", zodb.OID(2), tid+1)
	eventually(t, "it waits", func() bool { return ts.budgets.reads.Waiting() == waiting+1 })
	s.goesOn <- struct{}{}
	if oid := <-s.began; oid != 2 {
		t.Errorf("object %s is read next", oid)
	}
	close(s.goesOn)
	if _, err := other.wait(id); err == nil {
		t.Error("an object that does not exist was loaded")
	}
}

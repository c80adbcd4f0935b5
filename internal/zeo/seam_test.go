package zeo

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// memory is a storage without files: the seam between the server and its storage. Missing methods
// are nil, and a test that calls one panics.
type memory struct {
	zodb.Storage

	mu   sync.Mutex
	revs map[zodb.OID][]zodb.Revision // guarded by mu; oldest first
	txns []*zodb.Transaction          // guarded by mu
}

func (s *memory) Home() string         { return "memory" }
func (s *memory) Identity() string     { return "00000000000000000000000000000000" }
func (s *memory) Status() zodb.Status  { return zodb.Status{Class: zodb.ClassFull} }
func (s *memory) OnPacked(func())      {}
func (s *memory) PacksUndo() bool      { return false }
func (s *memory) HighestOID() zodb.OID { return 99 }
func (s *memory) LastTransaction() zodb.TID {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.txns) == 0 {
		return 0
	}
	return s.txns[len(s.txns)-1].TID
}

func (s *memory) Counts() zodb.Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return zodb.Counts{Objects: int64(len(s.revs))}
}

func (s *memory) RecentTransactions(_ context.Context, n int) ([]*zodb.Transaction, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.txns)
	slices.Reverse(list)
	return list[:min(n, len(list))], nil
}

func (s *memory) LoadBeforeCached(zodb.OID, zodb.TID) (zodb.Revision, bool) {
	return zodb.Revision{}, false
}

func (s *memory) LoadBefore(_ context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	revs := s.revs[oid]
	if len(revs) == 0 {
		return nil, &zodb.KeyError{OID: oid}
	}
	for i := len(revs) - 1; i >= 0; i-- {
		if revs[i].Serial < before {
			r := revs[i]
			return &r, nil
		}
	}
	return nil, nil
}

func (s *memory) Begin(_ context.Context, meta zodb.TxnMeta, _ zodb.BeginOptions) (zodb.Txn, error) {
	return &memoryTxn{s: s, meta: meta, data: make(map[zodb.OID][]byte)}, nil
}

// memoryTxn is a transaction of it.
type memoryTxn struct {
	zodb.Txn
	s    *memory
	meta zodb.TxnMeta
	oids []zodb.OID
	data map[zodb.OID][]byte
}

func (t *memoryTxn) Store(oid zodb.OID, _ zodb.TID, data []byte) error {
	t.oids, t.data[oid] = append(t.oids, oid), slices.Clone(data)
	return nil
}

func (t *memoryTxn) OIDs() []zodb.OID           { return t.oids }
func (t *memoryTxn) Vote(context.Context) error { return nil }
func (t *memoryTxn) Abort() error               { return nil }

func (t *memoryTxn) Finish(_ context.Context, published func(zodb.TID)) (zodb.TID, error) {
	tid := t.s.LastTransaction() + 1<<32
	t.s.mu.Lock()
	for _, oid := range t.oids {
		revs := t.s.revs[oid]
		if n := len(revs); n > 0 {
			revs[n-1].End = tid
		}
		t.s.revs[oid] = append(revs, zodb.Revision{Data: t.data[oid], Serial: tid})
	}
	t.s.txns = append(t.s.txns, &zodb.Transaction{TxnMeta: t.meta, TID: tid, Status: zodb.StatusDone, OIDs: t.oids})
	t.s.mu.Unlock()
	published(tid)
	return tid, nil
}

func TestServerStandsBeforeAnyStorage(t *testing.T) {
	t.Parallel()
	s := &memory{revs: make(map[zodb.OID][]zodb.Revision)}
	ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}})
	c, other := ts.client(wire.Pickle), ts.client(wire.Msgpack)
	first := c.commit(7, 0, "one")
	second := c.commit(7, first, "two")
	c.want(record("two"), elements(c.call("loadBefore", zodb.OID(7), second+1))[0])
	other.want(record("one"), elements(other.call("loadBefore", zodb.OID(7), second))[0])
	other.fails(classPOSKey, "loadBefore", zodb.OID(8), second)
	if got := s.LastTransaction(); got != second {
		t.Errorf("the storage has %s, want %s", got, second)
	}
}

package zeo

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// weakReads is a storage that knows which of the records that it gave are still kept.
type weakReads struct {
	*engine.Storage
	mu    sync.Mutex
	given []weak.Pointer[byte] // guarded by mu
}

func (s *weakReads) give(data []byte) []byte {
	data = bytes.Clone(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given = append(s.given, weak.Make(&data[0]))
	return data
}

func (s *weakReads) kept() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.given {
		if p.Value() != nil {
			n++
		}
	}
	return n
}

func (s *weakReads) LoadBeforeCached(zodb.OID, zodb.TID) (zodb.Revision, bool) {
	return zodb.Revision{}, false
}

func (s *weakReads) LoadBefore(ctx context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	rev, err := s.Storage.LoadBefore(ctx, oid, before)
	if err == nil && rev != nil {
		rev.Data = s.give(rev.Data)
	}
	return rev, err
}

func (s *weakReads) LoadSerial(ctx context.Context, oid zodb.OID, tid zodb.TID) ([]byte, error) {
	data, err := s.Storage.LoadSerial(ctx, oid, tid)
	if err == nil {
		data = s.give(data)
	}
	return data, err
}

// TestRecordsAreNotKeptWithoutMemory: a record was read without memory, because nothing was known of it, and there is no
// memory for it. It is not kept while its load waits; it is read again.
func TestRecordsAreNotKeptWithoutMemory(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"loadBefore", "loadSerial"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encodings(t, func(t *testing.T, e wire.Encoding) {
				s := &weakReads{Storage: openStorage(t, memoryHome(t), engine.Options{})}
				ts := serve(t, Options{Clock: time.Now, Limits: Limits{Memory: 64 << 20}, Storages: []StorageOptions{{Name: "1", Storage: s}}})
				c := ts.client(e)
				tid := c.storeLarge(1, largeBytes)
				at := map[string]zodb.TID{"loadBefore": tid + 1, "loadSerial": tid}[name]
				known := &ts.order[0].largeOnes
				known.read(1, 0) // nothing is known of it
				free := ts.budgets.answers.Free()
				others := ts.budgets.answers.Share(0)
				others.Add(free)
				const loads = 20
				for i := range loads {
					c.request(name, zodb.OID(1), at)
					eventually(t, "it waits for memory", func() bool { return ts.budgets.answers.Waiting() == i+1 })
					known.read(1, 0)
				}
				runtime.GC()
				s.mu.Lock()
				n := len(s.given)
				s.mu.Unlock()
				if kept := s.kept(); n != loads || kept > 0 {
					t.Errorf("%d of %d records are kept", kept, n)
				}
				others.Give(free)
				for range loads {
					if m := c.message(); m.Name != ".reply" || m.Flag != int64(0) {
						t.Fatalf("%v", m)
					}
				}
			})
		})
	}
}

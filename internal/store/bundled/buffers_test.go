package bundled_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/storetest"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// largeTxn has large records.
type largeTxn struct{ *storetest.Txn }

const largeRecord = 1 << 20

// AppendRevision implements [store.Transaction].
func (x largeTxn) AppendRevision(dst []byte, i int) ([]byte, error) {
	o := record.Object{OID: x.OIDs[i], Serial: x.Tid, Data: make([]byte, largeRecord)}
	return o.Append(dst, record.MD5)
}

// TestLargeRecordsLeaveNoLargeBuffers behind, by whichever way they are read.
func TestLargeRecordsLeaveNoLargeBuffers(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	if err := makeEmpty(disk); err != nil {
		t.Fatal(err)
	}
	s, err := bundled.New(bundled.Options{FS: disk, Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := largeTxn{&storetest.Txn{Tid: 1 << 20, OIDs: []zodb.OID{1}}}
	if err := errors.Join(s.Put(store.A, []store.Transaction{x}, new(store.Progress)), s.SetLast(store.A, x.Tid)); err != nil {
		t.Fatal(err)
	}
	for range 20 { // a value put into a sync.Pool may not be there again
		r, err := s.Load(1)
		if err != nil || len(r.Data) < largeRecord {
			t.Fatalf("%d bytes, %v", len(r.Data), err)
		}
		if n := s.Buffered(); n > 1<<19 {
			t.Fatalf("a buffer of %d bytes is kept", n)
		}
	}
}

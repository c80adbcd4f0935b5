package zeo

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// opened returns the one transaction with a label of its connection that is open.
func (ts *testServer) opened(label string) *txn {
	ts.t.Helper()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for c := range ts.conns {
		if l := c.label.Load(); l != nil && *l == label {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.txn
		}
	}
	ts.t.Fatalf("no connection has the label %s", label)
	return nil
}

// TestParkedBlobsKeepNoFilesOpen: a transaction that waits for its turn may have any number of
// blobs, of which none is an open file, and all of which are committed.
func TestParkedBlobsKeepNoFilesOpen(t *testing.T) {
	t.Parallel()
	const blobs = 20
	ts := turnServer(t)
	ts.budgets.files = budget.NewPool(64)
	a, b := ts.pipe(wire.Msgpack), ts.pipe(wire.Msgpack) // from this goroutine
	a.storeMany(mine, 1<<40, 3000)
	b.call("set_client_label", "parks")
	b.storeMany(mine, 1<<41, 3000)
	for i := range blobs {
		b.oneWay("storeBlobStart")
		b.oneWay("storeBlobChunk", []byte(fmt.Sprint("blob ", i)))
		b.oneWay("storeBlobEnd", zodb.OID(1<<42)+zodb.OID(i), zodb.TID(0), record("has a blob"), mine)
	}
	b.call("ping")
	x := ts.opened("parks") // its reader has nothing to do
	if x.parked == nil || len(x.parked.blobs) != blobs {
		t.Fatalf("parked: %+v; want %d blobs", x.parked, blobs)
	}
	for i, st := range x.parked.blobs {
		if _, err := st.blob.Staged.Write([]byte("more")); !errors.Is(err, zodb.ErrState) {
			t.Fatalf("the file of the blob %d is open: %v", i, err)
		}
	}
	a.call("tpc_abort", mine)
	b.call("vote", mine)
	tid := zodb.TIDFromBytes(b.call("tpc_finish", mine).([]byte))
	for i := range blobs {
		if got := b.call("loadBefore", zodb.OID(1<<42)+zodb.OID(i), zodb.MaxTID).(wire.Tuple)[1]; zodb.TIDFromBytes(got.([]byte)) != tid {
			t.Errorf("the object of the blob %d has tid %v", i, got)
		}
	}
}

package zeo

import (
	"encoding/base64"
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
			return c.open()
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
	ts.opened("parks").stage.Use(func(w *work) {
		if w.parked == nil || len(w.parked.blobs) != blobs {
			t.Fatalf("parked: %+v; want %d blobs", w.parked, blobs)
		}
		for i, st := range w.parked.blobs {
			if _, err := st.blob.Staged.Write([]byte("more")); !errors.Is(err, zodb.ErrState) {
				t.Fatalf("the file of the blob %d is open: %v", i, err)
			}
		}
	})
	a.call("tpc_abort", mine)
	b.call("vote", mine)
	tid := zodb.TIDFromBytes(b.call("tpc_finish", mine).([]byte))
	for i := range blobs {
		if got := b.call("loadBefore", zodb.OID(1<<42)+zodb.OID(i), zodb.MaxTID).(wire.Tuple)[1]; zodb.TIDFromBytes(got.([]byte)) != tid {
			t.Errorf("the object of the blob %d has tid %v", i, got)
		}
	}
}

// TestParkedStepsAreCounted: their buffers, their blobs, and a large record that is read back. Each
// is given back when the step was done, or when the transaction ends.
func TestParkedStepsAreCounted(t *testing.T) {
	t.Parallel()
	const blobs = 20
	for _, end := range []string{"abort", "commit", "close"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			ts := turnServer(t)
			all := ts.budgets.free()
			a, b := ts.client(wire.Msgpack), ts.client(wire.Msgpack)
			a.storeMany(mine, 1<<40, 3000)
			b.call("set_client_label", "parks")
			b.storeMany(mine, 1<<41, 2000)
			x := ts.opened("parks")
			before := x.memory.held.Load()
			for i := range blobs {
				b.storeBlob(mine, zodb.OID(1<<42)+zodb.OID(i), fmt.Sprint("blob ", i))
			}
			b.oneWay("storea", zodb.OID(1<<43), zodb.TID(0), largeRecord(300_000), mine)
			b.call("ping")
			if grown := x.memory.held.Load() - before; grown != blobs*writeMemory {
				t.Errorf("%d bytes are charged for %d parked blobs, want %d", grown, blobs, blobs*writeMemory)
			}
			if held := x.memory.share.Held(); held != x.memory.held.Load()+parkedMemory {
				t.Errorf("the transaction holds %d bytes, and its steps %d", held, x.memory.held.Load())
			}
			x.stage.Use(func(w *work) {
				if n := cap(w.parked.buf); n > 2*parkedChunk {
					t.Errorf("%d bytes are in the buffer of what is parked", n)
				}
			})
			if end == "commit" {
				// A large record waits for the memory of messages.
				others := ts.budgets.frames.Share(0)
				others.Add(ts.budgets.frames.Free())
				vote := b.request("vote", mine)
				a.call("tpc_abort", mine)
				eventually(t, "the record waits for memory", func() bool { return ts.budgets.frames.Waiting() == 1 })
				others.Give(others.Held())
				if _, err := b.wait(vote); err != nil {
					t.Fatal(err)
				}
				if held, most := x.memory.held.Load(), (2000+blobs+1)*writeMemory+ts.budgets.spool; held > most {
					t.Errorf("%d bytes are charged for steps that take %d", held, most)
				}
				b.call("tpc_finish", mine)
				got := b.call("loadBefore", zodb.OID(1<<43), zodb.MaxTID).(wire.Tuple)[0].([]byte)
				if string(got) != string(largeRecord(300_000)) {
					t.Error("the large record is another one")
				}
			}
			if end == "abort" {
				b.call("tpc_abort", mine)
			}
			a.conn.Close()
			b.conn.Close()
			eventually(t, "everything was given back", func() bool { return ts.Connections() == 0 && ts.budgets.free() == all })
		})
	}
}

// TestEachKindOfStepIsParked: a delete, a check and an undo behind stores are done in their order
// when the vote has the memory.
func TestEachKindOfStepIsParked(t *testing.T) {
	t.Parallel()
	ts := turnServer(t)
	a, b := ts.client(wire.Pickle), ts.client(wire.Pickle)
	deleted := a.commit(6, 0, "is deleted")
	first := a.commit(7, 0, "first")
	second := a.commit(7, first, "is undone")
	a.storeMany(mine, 1<<40, 3000)
	b.call("set_client_label", "parks")
	b.storeMany(mine, 1<<41, 2000)
	ts.opened("parks").stage.Use(func(w *work) {
		if w.parked == nil {
			t.Fatal("nothing is parked")
		}
	})
	b.oneWay("deleteObject", zodb.OID(6), deleted, mine)
	b.oneWay("checkCurrentSerialInTransaction", zodb.OID(7), second, mine)
	b.oneWay("undoa", []byte(base64.StdEncoding.EncodeToString(second.Bytes())), mine)
	vote := b.request("vote", mine)
	eventually(t, "its vote waits", ts.budgets.waitsForTurn)
	a.call("tpc_abort", mine)
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	b.call("tpc_finish", mine)
	a.want(record("first"), elements(a.call("loadBefore", zodb.OID(7), zodb.MaxTID))[0])
	a.fails(classPOSKey, "loadBefore", zodb.OID(6), zodb.MaxTID)
	a.want(record("1999"), elements(a.call("loadBefore", zodb.OID(1<<41+1999), zodb.MaxTID))[0])
}

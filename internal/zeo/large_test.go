package zeo

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// largeRecord is a data record of a little more than n bytes.
func largeRecord(n int) []byte {
	state := binary.LittleEndian.AppendUint32([]byte{'}', 'X'}, uint32(n))
	state = append(append(state, strings.Repeat("x", n)...), "K\x01s."...)
	return append([]byte("cpersistent.mapping\nPersistentMapping\n."), state...)
}

// storeLarge commits an object with a large record.
func (c *rawClient) storeLarge(oid zodb.OID, n int) zodb.TID {
	c.t.Helper()
	c.begin(mine)
	c.oneWay("storea", oid, zodb.TID(0), largeRecord(n), mine)
	c.want(wire.List{}, c.call("vote", mine))
	return zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
}

// TestLargeRecordWaitsForMemory: the answer comes when others have given memory back, and
// the connection goes on, and ends, as any other.
func TestLargeRecordWaitsForMemory(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		const size = 2 * largeBytes
		ts, _, _ := limited(t, Limits{Memory: 128 << 20})
		c := ts.client(e)
		tid := c.storeLarge(1, size)
		others := ts.budgets.answers.Share(0)
		all := ts.budgets.answers.Free() - largeBytes
		for range 3 {
			others.Add(all)
			id := c.request("loadSerial", zodb.OID(1), tid)
			eventually(t, "it waits for memory", func() bool { return ts.budgets.answers.Waiting() == 1 })
			others.Give(all)
			if got, err := c.wait(id); err != nil || len(got.([]byte)) < size {
				t.Fatalf("loadSerial: %d bytes, %v", len(got.([]byte)), err)
			}
		}
		c.conn.Close()
		eventually(t, "the connection ends", func() bool { return ts.Connections() == 0 })
		if held := ts.budgets.answers.Free(); held != 16<<20 {
			t.Errorf("%d bytes of the memory for answers are free in the end", held)
		}
	})
}

// TestLargeTransactionIsCopiedWhereMemoryIsShort: its objects take more than half of the
// memory for iterators, and are read one by one all the same.
func TestLargeTransactionIsCopiedWhereMemoryIsShort(t *testing.T) {
	t.Parallel()
	const objects = 20_000
	ts, _, _ := limited(t, Limits{Memory: 8 << 20})
	txn, err := ts.order[0].storage.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for oid := range zodb.OID(objects) {
		if err := txn.Store(oid, 0, record("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.Vote(t.Context()); err != nil {
		t.Fatal(err)
	}
	var last zodb.TID
	oids := txn.OIDs()
	if _, err := txn.Finish(t.Context(), func(tid zodb.TID) {
		last = tid
		ts.order[0].announce(announcement{tid: tid, oids: oids, sorted: sortedOIDs(oids)})
	}); err != nil {
		t.Fatal(err)
	}
	c := ts.client(wire.Pickle)
	for range 2 {
		id := c.call("iterator_start", last, nil)
		tid := c.call("iterator_next", id).(wire.Tuple)[0]
		records := c.call("iterator_record_start", id, tid)
		for range 10 {
			if c.call("iterator_record_next", records) == nil {
				t.Fatal("the records end early")
			}
		}
		c.oneWay("iterator_gc", wire.List{id, records})
	}
}

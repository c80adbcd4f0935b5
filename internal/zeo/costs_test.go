package zeo

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// live is the memory that the last collection has found in use, and the stacks.
func live() int64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(sample) // later allocations, which may be garbage already, are no part of it
	return int64(sample[0].Value.Uint64() + sample[1].Value.Uint64())
}

// costs measures the memory that hostile clients take during f: the memory in use, stacks included,
// at its highest after a collection. An innocent client has to be answered meanwhile. The lowest of
// three looks counts, because objects made and dropped during a collection count as in use after
// it, the more the busier the machine is. The objects of f itself count, too. Tests that use it are
// not parallel to others, whose memory would count.
func costs(t *testing.T, ts *testServer, f func()) (grown int64) {
	t.Helper()
	before := live()
	var highest atomic.Int64 // of the memory that lasted for three looks
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var looks [3]int64
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				looks[i%3] = live()
				if n := min(looks[0], looks[1], looks[2]); n > highest.Load() {
					highest.Store(n)
				}
			}
		}
	})
	innocent := ts.client(wire.Msgpack)
	tid := innocent.commit(0xffff, 0, "before")
	f()
	for range 3 {
		tid = innocent.commit(0xffff, tid, "meanwhile")
		innocent.call("loadBefore", zodb.OID(0xffff), zodb.TID(1<<63-1))
		innocent.call("undoLog", int64(0), int64(-2))
	}
	close(stop)
	wg.Wait()
	if n := live(); n > highest.Load() {
		highest.Store(n)
	}
	return highest.Load() - before
}

// costly is a server with the memory of a small machine, and 64 MiB less to spare.
func costly(t *testing.T) (*testServer, *refusals, *logBuffer) {
	t.Helper()
	return limited(t, Limits{Memory: 64 << 20, Files: 256, Connections: 100})
}

// longHistory makes transactions with metadata of 60 KB.
func (ts *testServer) longHistory(n int) {
	ts.t.Helper()
	c := ts.client(wire.Pickle)
	long := bytes.Repeat([]byte("m"), 60_000)
	tid := zodb.TID(0)
	for range n {
		c.oneWay("tpc_begin", mine, long, long, wire.Dict{}, nil, " ")
		c.oneWay("storea", zodb.OID(7), tid, record("x"), mine)
		c.call("vote", mine)
		tid = zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
	}
	c.conn.Close()
}

// quiet sends without looking at the answers.
func (c *rawClient) quiet(stream []byte) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = c.conn.Write(stream)
}

func (c *rawClient) frame(oneWay bool, name string, args ...any) []byte {
	c.t.Helper()
	c.id++
	b, err := wire.AppendRequest(nil, c.enc, c.id, oneWay, name, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return frameOf(b)
}

// TestUndoLogsThatNobodyReadsCostLittle: 64 at once on each of several connections.
func TestUndoLogsThatNobodyReadsCostLittle(t *testing.T) {
	ts, refused, _ := costly(t)
	ts.longHistory(100)
	grown := costs(t, ts, func() {
		for range 4 {
			c := ts.client(wire.Pickle)
			for range 64 {
				c.quiet(c.frame(false, "undoLog", int64(0), int64(-100_000)))
				c.quiet(c.frame(false, "history", zodb.OID(7), int64(100_000)))
			}
		}
		eventually(t, "some are refused", func() bool { return refused.of("memory") >= 10 })
	})
	if grown > 40<<20 {
		t.Errorf("%d bytes", grown)
	}
}

// TestStepsOfATransactionCostLittle: checks, deletes and stores without end.
func TestStepsOfATransactionCostLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	for _, kind := range []string{"checkCurrentSerialInTransaction", "deleteObject", "storea"} {
		ts, refused, _ := costly(t)
		var clients []*rawClient
		var streams [][]byte
		for i := range 4 {
			n := 12_000
			if i == 0 {
				n = 70_000 // more than anybody gets
			}
			c := ts.client(wire.Pickle)
			var stream []byte
			for i := range n {
				args := []any{1<<40 + zodb.OID(i), zodb.TID(0), mine}
				if kind == "storea" {
					args = []any{1<<40 + zodb.OID(i), zodb.TID(0), record("0123456789"), mine}
				}
				stream = append(stream, c.frame(true, kind, args...)...)
			}
			clients, streams = append(clients, c), append(streams, stream)
		}
		grown := costs(t, ts, func() {
			for i, c := range clients {
				c.begin(mine)
				c.quiet(streams[i])
				c.call("ping")
			}
		})
		if grown > 24<<20 {
			t.Errorf("%s: %d bytes", kind, grown)
		}
		c := clients[0]
		if kind != "checkCurrentSerialInTransaction" { // that an object is there is looked at first
			details := c.fails(classStorage, "vote", mine)
			if text := fmt.Sprint(details); !strings.Contains(text, "memory-limit") {
				t.Errorf("told %s", text)
			}
			if refused.of("memory") == 0 {
				t.Error("not counted")
			}
		}
		c.call("tpc_abort", mine)
		for _, c := range clients {
			c.conn.Close()
		}
		eventually(t, "everything was given back", func() bool {
			b := ts.budgets
			return b.steps.Free() == ts.o.Limits.Memory/16*5 && ts.Connections() == 1
		})
	}
}

// TestIteratorsCostLittle: thousands after their first step, at long transactions.
func TestIteratorsCostLittle(t *testing.T) {
	ts, _, _ := costly(t)
	ts.longHistory(40)
	c := ts.client(wire.Pickle)
	told := 0
	grown := costs(t, ts, func() {
		for range 500 {
			id, err := c.try("iterator_start", nil, nil)
			if err == nil {
				_, err = c.try("iterator_next", id)
			}
			if err != nil {
				told++
			}
		}
	})
	if grown > 16<<20 || told == 0 {
		t.Errorf("%d bytes, %d refused", grown, told)
	}
	// One of another connection goes through all of it.
	d := ts.client(wire.Pickle)
	id := d.call("iterator_start", nil, nil)
	n := 0
	for d.call("iterator_next", id) != nil {
		n++
	}
	if n < 40 {
		t.Errorf("%d transactions", n)
	}
	c.conn.Close()
	d.conn.Close()
	eventually(t, "everything was given back", func() bool { return ts.budgets.iterators.Free() == ts.o.Limits.Memory/64 })
}

// TestIteratorsThatTakeTurnsSeeEverything: more of them than may be in the middle of a walk.
func TestIteratorsThatTakeTurnsSeeEverything(t *testing.T) {
	t.Parallel()
	ts, _, _ := limited(t, Limits{})
	c := ts.client(wire.Pickle)
	tid := zodb.TID(0)
	var want []zodb.TID
	for range 20 {
		tid = c.commit(7, tid, "x")
		want = append(want, tid)
	}
	ids, got := make([]any, 3*maxLive), make([][]zodb.TID, 3*maxLive)
	for i := range ids {
		ids[i] = c.call("iterator_start", want[0], nil)
	}
	for range want {
		for i, id := range ids {
			got[i] = append(got[i], zodb.TIDFromBytes(c.call("iterator_next", id).(wire.Tuple)[0].([]byte)))
		}
	}
	for i := range ids {
		c.want(fmt.Sprint(want), fmt.Sprint(got[i]))
		c.want(nil, c.call("iterator_next", ids[i]))
	}
}

// TestMessagesThatComeSlowlyKeepNobodyOut: large ones that never end on many connections; one of an
// innocent client comes through as soon as there is room, and the held memory is given back.
func TestMessagesThatComeSlowlyKeepNobodyOut(t *testing.T) {
	ts, _, _ := costly(t)
	most := ts.budgets.message
	var slow []*rawClient
	grown := costs(t, ts, func() {
		for range 8 {
			c := ts.client(wire.Pickle)
			slow = append(slow, c)
			n := most / 2
			c.quiet([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
			go c.quiet(make([]byte, n-1))
		}
		eventually(t, "others wait", func() bool { return ts.budgets.frames.Waiting() > 0 })
	})
	if grown > 48<<20 {
		t.Errorf("%d bytes", grown)
	}
	for _, c := range slow {
		c.conn.Close()
	}
	c := ts.client(wire.Pickle)
	c.begin(mine)
	c.oneWay("storea", zodb.OID(5), zodb.TID(0), append(record("large"), make([]byte, most/2)...), mine)
	c.call("ping")
	c.quiet(c.frame(true, "storea", zodb.OID(5), zodb.TID(0), make([]byte, most), mine))
	c.closed()
	eventually(t, "everything was given back", func() bool { return ts.budgets.frames.Free() == ts.o.Limits.Memory/4 })
}

// lasting is the memory in use, stacks included, of a server in which little goes on. The lowest of
// some looks counts: objects made and dropped during a collection are not in each of them.
func lasting() int64 {
	least := int64(math.MaxInt64)
	for range 10 {
		least = min(least, live())
	}
	return least
}

// TestBlobsThatNobodyReadsTakeFewFiles: read-only connections ask for many and read none.
func TestBlobsThatNobodyReadsTakeFewFiles(t *testing.T) {
	ts, _, _ := costly(t)
	c := ts.client(wire.Pickle)
	const blobs = 20
	c.begin(mine)
	for i := range blobs {
		c.oneWay("storeBlobStart")
		for range 100 {
			c.oneWay("storeBlobChunk", make([]byte, blobPiece))
		}
		c.oneWay("storeBlobEnd", zodb.OID(100+i), zodb.TID(0), record("blob"), mine)
	}
	c.call("vote", mine)
	tid := c.call("tpc_finish", mine)
	before := lasting()
	for range 3 { // there are 8 files for blobs
		d := ts.dial(wire.Pickle)
		d.call("register", "1", true)
		for i := range 3 * blobs {
			d.quiet(d.frame(false, "sendBlob", zodb.OID(100+i%blobs), tid))
		}
	}
	// One of the connections may be ended for its slowness first, if the others have no file for two seconds.
	eventually(t, "some wait", func() bool { return ts.budgets.files.Waiting() > 30 })
	if ts.budgets.files.Free() == 0 {
		t.Error("no file is left")
	}
	if grown := lasting() - before; grown > 20<<20 {
		t.Errorf("%d bytes", grown)
	}
	// An upload of somebody else finds a file.
	c.begin(mine)
	c.oneWay("storeBlobStart")
	c.oneWay("storeBlobChunk", make([]byte, blobPiece))
	c.oneWay("storeBlobEnd", zodb.OID(8), zodb.TID(0), record("blob"), mine)
	c.want(wire.List{}, c.call("vote", mine))
	c.call("tpc_finish", mine)
}

// TestDictsCostLittle: frames of nothing but empty dictionaries, on many connections.
func TestDictsCostLittle(t *testing.T) {
	ts, _, log := costly(t)
	head := []byte("\x80\x03(K\x01\x89X\x04\x00\x00\x00ping(")
	frame := frameOf(append(head, bytes.Repeat([]byte("}"), 4<<20)...))
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	grown := costs(t, ts, func() {
		var wg sync.WaitGroup
		for range 8 {
			c := ts.client(wire.Pickle)
			wg.Go(func() { c.quiet(frame) })
		}
		wg.Wait()
		eventually(t, "they are disconnected", func() bool { return ts.Connections() == 1 })
	})
	if grown > 40<<20 {
		t.Errorf("%d bytes", grown)
	}
	if log.len() > 20_000 {
		t.Errorf("%d bytes of log", log.len())
	}
}

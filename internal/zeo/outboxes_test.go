package zeo

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestAllThatNobodyReadsIsBounded has many clients that read nothing of their answers and
// announcements: records, undo logs, blobs. All outboxes together stay within the server's pool for
// them, though it would be little for one of them; readers are served, and no reader is cut off.
func TestAllThatNobodyReadsIsBounded(t *testing.T) {
	hometest.InTurn(t, 4)
	const memory, pool = 64 << 20, 64 << 20 / 8
	readers, objects := 150, 500
	if testing.Short() {
		readers, objects = 40, 200
	}
	for what, request := range map[string]func(p *rawClient, record, blob zodb.TID) []byte{
		"records": func(p *rawClient, record, _ zodb.TID) []byte {
			return p.frame(false, "loadBefore", zodb.OID(1), record+1)
		},
		"old records": func(p *rawClient, record, _ zodb.TID) []byte {
			return p.frame(false, "loadSerial", zodb.OID(1), record)
		},
		"undo logs":     func(p *rawClient, _, _ zodb.TID) []byte { return p.frame(false, "undoLog", int64(0), int64(-5)) },
		"blobs":         func(p *rawClient, _, blob zodb.TID) []byte { return p.frame(false, "sendBlob", zodb.OID(2), blob) },
		"announcements": func(p *rawClient, _, _ zodb.TID) []byte { return p.frame(false, "ping") },
	} {
		t.Run(what, func(t *testing.T) {
			if testing.Short() && what == "records" {
				t.Skip("as old records, and with waits for those who do not read")
			}
			ts, refused, log := limited(t, Limits{Memory: memory, Files: 1024, Connections: 200})
			c := ts.client(wire.Msgpack)
			tid := c.commit(1, 0, strings.Repeat("x", 60_000))
			ts.longHistory(20)
			blob := ts.blob(c, 2)
			eventually(t, "the others are gone", func() bool { return ts.Connections() == 1 })
			free, most := ts.budgets.free(), int64(0)
			longest, before, beside := time.Duration(0), runtime.NumGoroutine(), 0
			grown := costs(t, ts, func() {
				var asking sync.WaitGroup
				var idle []*rawClient
				for i := range readers {
					p := ts.pipe(encodingOf(i))
					idle = append(idle, p)
					var stream []byte
					for range 200 {
						stream = append(stream, request(p, tid, blob)...)
					}
					asking.Go(func() { p.quiet(stream) }) // the server stops reading, or closes
				}
				serial := zodb.TID(0)
				for range 60 {
					if what == "announcements" {
						serial = c.commitMany(objects, serial)
					} else {
						time.Sleep(time.Millisecond) // their answers come meanwhile, or later
					}
					begun := time.Now()
					c.call("loadBefore", zodb.OID(1), tid+1)
					longest = max(longest, time.Since(begun))
					most, beside = max(most, ts.unread()), max(beside, runtime.NumGoroutine())
				}
				for _, p := range idle {
					p.conn.Close()
				}
				asking.Wait()
			})
			t.Logf("%d KiB wait to be read at most, %d MiB of memory, %d cut off, %d goroutines, the longest load took %v", most>>10, grown>>20, refused.of("queue"), beside, longest)
			if most > pool*3/2 {
				t.Errorf("%d bytes wait to be read, where there are %d for that", most, pool)
			}
			// A goroutine reads, one writes, one waits for a place for a request, as one request
			// does that has the place that is sure, and the test has one, for each connection.
			if places := memory / 64 / placeMemory; beside > before+5*readers+places+50 {
				t.Errorf("%d goroutines, where there are places for %d requests", beside, places)
			}
			if grown > memory/4*3 {
				t.Errorf("%d bytes of memory", grown)
			}
			c.conn.Close()
			eventually(t, "everything was given back", func() bool { return ts.Connections() <= 1 && ts.budgets.free() == free })
			if log.has("bug in the server") {
				t.Error("a panic")
			}
		})
	}
}

// blob commits a blob of some pieces.
func (ts *testServer) blob(c *rawClient, oid zodb.OID) zodb.TID {
	ts.t.Helper()
	c.begin(mine)
	c.oneWay("storeBlobStart")
	for range 100 {
		c.oneWay("storeBlobChunk", make([]byte, blobPiece))
	}
	c.oneWay("storeBlobEnd", oid, zodb.TID(0), record("blob"), mine)
	c.call("vote", mine)
	return zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
}

// commitMany changes n objects in one transaction.
func (c *rawClient) commitMany(n int, serial zodb.TID) zodb.TID {
	c.t.Helper()
	c.begin(mine)
	var stream []byte
	for i := range n {
		stream = append(stream, c.frame(true, "storea", 1000+zodb.OID(i), serial, record("x"), mine)...)
	}
	c.quiet(stream)
	c.want(wire.List{}, c.call("vote", mine))
	return zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte))
}

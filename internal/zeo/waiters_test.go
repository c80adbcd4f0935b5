package zeo

import (
	"math"
	"runtime/debug"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestVoteThatWaitsWithManyObjectsCostsOthersNothing: one client holds the lock of an object; the
// vote of another one, with many objects, waits for it; a third commits other objects meanwhile. It
// takes as much of the processor as without them, whether the object is the first or the last of
// the waiting vote, which has the locks of the rest then.
func TestVoteThatWaitsWithManyObjectsCostsOthersNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	const commits, generous, slack = 100, 3, 20 * time.Millisecond
	many := hometest.Rounds(t, 50_000)
	const first, last = zodb.OID(1 << 40), zodb.OID(1 << 50)
	transports(t, Limits{Memory: 8 << 30}, func(t *testing.T, ts *testServer, _ *refusals, log *logBuffer) {
		innocent := ts.client(wire.Msgpack)
		serial, oid := zodb.TID(0), zodb.OID(7)
		// The least of some measurements: a busy machine and the first time add to one, a cost of the objects
		// that wait is in each. The collector's work on the objects of earlier tests is in none.
		work := func(enough time.Duration) time.Duration {
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			least := time.Duration(math.MaxInt64)
			for n := 0; n < 3 || n < 12 && least > enough; n++ {
				least = min(least, processorTime(t, func() {
					for range commits {
						serial = innocent.commit(oid, serial, "x")
					}
				}))
			}
			return least
		}
		free := ts.budgets.free()
		alone := work(0)
		most := generous*alone + slack
		for name, wanted := range map[string]zodb.OID{"first": first, "last": last} {
			if name == "first" && ts.tls != nil {
				continue
			}
			holder, waiter := ts.client(wire.Pickle), ts.client(wire.Msgpack)
			holder.begin(mine)
			holder.oneWay("storea", wanted, zodb.TID(0), record("h"), mine)
			holder.call("vote", mine)
			waiter.begin(mine)
			var stream []byte
			for i := range many {
				stream = append(stream, waiter.frame(true, "storea", first+1+zodb.OID(i), zodb.TID(0), record("w"), mine)...)
			}
			stream = append(stream, waiter.frame(true, "storea", wanted, zodb.TID(0), record("w"), mine)...)
			waiter.quiet(append(stream, waiter.frame(false, "vote", mine)...))
			eventually(t, "it waits", func() bool { return ts.order[0].stats.waiting.Load() == 1 })
			waiter.call("ping") // and has sent all
			beside := work(most)
			if beside > most {
				t.Errorf("%s: %d commits take %s while a vote with %d objects waits, and %s without it", name, commits, beside, many, alone)
			}
			// A waiter is gone with its client, in either case.
			waiter.conn.Close()
			other := ts.client(wire.Pickle)
			other.commit(first+zodb.OID(many), 0, "o")
			after := work(most)
			if after > most {
				t.Errorf("%s: %d commits take %s after it has gone, and %s before it", name, commits, after, alone)
			}
			t.Logf("%s: %d commits take %s alone, %s beside it, %s after it", name, commits, alone, beside, after)
			holder.call("tpc_finish", mine)
			holder.conn.Close()
			other.conn.Close()
			many-- // so that none of its objects is there the next time
		}
		eventually(t, "everything was given back", func() bool { return ts.Connections() == 1 && ts.budgets.free() == free })
		if n := log.len(); n > 20_000 {
			t.Errorf("%d bytes of log", n)
		}
	})
}

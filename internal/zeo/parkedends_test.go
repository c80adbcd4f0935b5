package zeo

import (
	"fmt"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// parkedScene is a client of which steps are parked, because holder has the turn.
type parkedScene struct {
	scene
	ts   *testServer
	oid  zodb.OID // the first one that nobody has stored
	late int64    // id of its vote
}

// park parks stores, blobs and a large record, behind a store of object 1.
func (x *parkedScene) park() {
	x.store(x.c, x.serial)
	x.c.storeMany(mine, x.oid, 2000)
	x.c.storeBlob(mine, x.oid+2000, "a blob")
	x.c.oneWay("storea", x.oid+2001, zodb.TID(0), largeRecord(300_000), mine)
	x.c.call("ping")
}

func (x *parkedScene) vote() {
	x.park()
	x.late = x.c.request("vote", mine)
	eventually(x.c.t, "its vote waits", x.ts.budgets.waitsForTurn)
}

// turn has holder give the turn to c.
func (x *parkedScene) turn() {
	x.holder.call("tpc_abort", mine)
	if _, err := x.c.wait(x.late); err != nil {
		x.c.t.Fatal(err)
	}
}

// parkedStates are the states of a transaction that is or was parked.
func parkedStates() map[string]func(x *parkedScene) {
	return map[string]func(x *parkedScene){
		"parked":              (*parkedScene).park,
		"parked, half a blob": func(x *parkedScene) { x.park(); x.half() },
		"parked, half a record": func(x *parkedScene) {
			x.park()
			frame := x.c.frame(true, "storea", x.oid+2002, zodb.TID(0), largeRecord(300_000), mine)
			x.c.quiet(frame[:200_000])
		},
		"parked, failed": func(x *parkedScene) {
			x.park()
			x.c.oneWay("storea", zodb.OID(1), zodb.TID(0), "no bytes", mine)
			x.c.call("ping")
		},
		"its vote waits": (*parkedScene).vote,
		"its vote waits, late steps": func(x *parkedScene) {
			x.vote()
			x.c.oneWay("storea", x.oid+2002, zodb.TID(0), largeRecord(10_000), mine)
			x.c.oneWay("deleteObject", zodb.OID(1), x.serial, mine)
		},
		"its vote waits, a blob begins": func(x *parkedScene) { x.vote(); x.c.quiet(x.c.frame(true, "storeBlobStart")) },
		"its vote waits, aborted":       func(x *parkedScene) { x.vote(); x.c.request("tpc_abort", mine) },
		"its vote begins":               func(x *parkedScene) { x.park(); x.holder.call("tpc_abort", mine); x.c.request("vote", mine) },
		"voted":                         func(x *parkedScene) { x.vote(); x.turn() },
		"finishing":                     func(x *parkedScene) { x.vote(); x.turn(); x.c.request("tpc_finish", mine) },
		"conflict": func(x *parkedScene) {
			serial := x.serial
			x.serial = 1
			x.vote()
			x.turn()
			x.serial = serial
		},
	}
}

// TestNothingIsLeftOfAParkedTransaction ends connections in each of these states. Their locks,
// memory, files and promised room are given back.
func TestNothingIsLeftOfAParkedTransaction(t *testing.T) {
	hometest.InTurn(t, 4)
	ends := []string{"close", "reset", "half close", "one-way error", "garbage"}
	phase := hometest.Phase(t)
	transports(t, Limits{Memory: 4 << 20, Files: 256, Connections: 20}, func(t *testing.T, ts *testServer, _ *refusals, log *logBuffer) {
		innocent := ts.client(wire.Msgpack)
		x := &parkedScene{ts: ts}
		x.serial = innocent.commit(1, innocent.commit(1, 0, "first"), "second")
		free := ts.budgets.free()
		begin := inUse(t)
		n := 0
		for state, reach := range parkedStates() {
			for _, end := range ends {
				if n++; (n+phase)%hometest.OneOf(1, 2, 5) != 0 {
					continue
				}
				what := fmt.Sprintf("%s, %s", state, end)
				x.c, x.holder = ts.client(encodingOf(n)), ts.client(encodingOf(n))
				x.oid += 10_000
				x.holder.storeMany(mine, x.oid+5000, 3000)
				reach(x)
				lastWords()[end](x.c)
				x.c.conn.Close()
				x.holder.conn.Close()
				eventually(t, what+": they are gone", func() bool { return ts.Connections() == 1 })
				eventually(t, what+": everything was given back", func() bool { return ts.budgets.free() == free })
				h := ts.order[0]
				eventually(t, what+": no transaction is left", func() bool {
					return h.stats.active.Load()+h.stats.holding.Load()+h.stats.waiting.Load() == 0
				})
				if left := append(staged(t, ts.storages["1"]), scratchFiles(t, ts.storages["1"].Home())...); len(left) > 0 {
					t.Errorf("%s: %v stays behind", what, left)
				}
				x.serial = zodb.TIDFromBytes(innocent.call("getTid", zodb.OID(1)).([]byte))
				x.serial = innocent.commit(1, x.serial, "meanwhile")
			}
		}
		begin.notMoreThan(t)
		if log.has("bug in the server") {
			t.Error("a panic")
		}
	})
}

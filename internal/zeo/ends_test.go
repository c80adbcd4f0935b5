package zeo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// scene is a client that ends in some state, and who stands in its way there.
type scene struct {
	c, holder *rawClient
	serial    zodb.TID // of object 1, which all of them want
}

// store begins a transaction that changes object 1.
func (x *scene) store(c *rawClient, serial zodb.TID) {
	c.begin(mine)
	c.oneWay("storea", zodb.OID(1), serial, record("x"), mine)
}

func (x *scene) voted() {
	x.store(x.c, x.serial)
	x.c.call("vote", mine)
}

func (x *scene) half() {
	x.c.oneWay("storeBlobStart")
	for range 3 {
		x.c.oneWay("storeBlobChunk", make([]byte, blobPiece))
	}
}

// waiting has the vote of c wait for holder.
func (x *scene) waiting() {
	x.store(x.holder, x.serial)
	x.holder.call("vote", mine)
	x.store(x.c, x.serial)
	x.c.request("vote", mine)
}

func (x *scene) conflict() {
	x.store(x.c, 1)
	x.c.call("vote", mine)
}

// lastStates are all the states in which a connection may end.
func lastStates() map[string]func(x *scene) {
	return map[string]func(x *scene){
		"registered":   func(*scene) {},
		"begun":        func(x *scene) { x.c.begin(mine) },
		"stored":       func(x *scene) { x.store(x.c, x.serial) },
		"blob begun":   func(x *scene) { x.c.begin(mine); x.half() },
		"half a frame": func(x *scene) { x.store(x.c, x.serial); x.c.quiet([]byte{0, 1, 0, 0, 0x80}) },
		"blob ended": func(x *scene) {
			x.c.begin(mine)
			x.half()
			x.c.oneWay("storeBlobEnd", zodb.OID(1), x.serial, record("b"), mine)
		},
		"voted":                   (*scene).voted,
		"voted, then half a blob": func(x *scene) { x.voted(); x.c.quiet(x.c.frame(true, "storeBlobStart")) },
		"half a blob, voted":      func(x *scene) { x.store(x.c, x.serial); x.half(); x.c.request("vote", mine) },
		"conflict":                (*scene).conflict,
		"conflict, resolved, voted again": func(x *scene) {
			x.conflict()
			x.c.oneWay("storea", zodb.OID(1), x.serial, record("r"), mine)
			x.c.request("vote", mine)
		},
		"check voted for": func(x *scene) {
			x.c.begin(mine)
			x.c.oneWay("checkCurrentSerialInTransaction", zodb.OID(1), x.serial, mine)
			x.c.call("vote", mine)
		},
		"waiting": func(x *scene) { x.waiting(); x.c.request("ping") },
		"waiting, more is stored": func(x *scene) {
			x.waiting()
			for range 2 {
				x.c.oneWay("storea", zodb.OID(2), zodb.TID(0), record("late"), mine)
			}
		},
		"waiting, aborted": func(x *scene) { x.waiting(); x.c.request("tpc_abort", mine) },
		"finishing":        func(x *scene) { x.voted(); x.c.request("tpc_finish", mine) },
		"vote and finish at once": func(x *scene) {
			x.store(x.c, x.serial)
			x.c.quiet(append(x.c.frame(false, "vote", mine), x.c.frame(false, "tpc_finish", mine)...))
		},
		"voted, undo logs": func(x *scene) {
			x.voted()
			for range maxSlow + 10 {
				x.c.request("undoLog", int64(0), int64(-1000))
			}
		},
		"voted, loads that nobody reads": func(x *scene) {
			x.voted()
			for range 300 {
				x.c.request("loadBefore", zodb.OID(1), zodb.TID(1<<63-1))
			}
		},
	}
}

// lastWords are all the ways in which a connection may end.
func lastWords() map[string]func(c *rawClient) {
	return map[string]func(c *rawClient){
		"close":          func(c *rawClient) { c.conn.Close() },
		"reset":          func(c *rawClient) { _ = socket(c.conn).SetLinger(0); socket(c.conn).Close() },
		"half close":     func(c *rawClient) { _ = socket(c.conn).CloseWrite() },
		"garbage":        func(c *rawClient) { c.quiet(frameOf([]byte("garbage"))) },
		"unknown method": func(c *rawClient) { c.quiet(c.frame(false, "no_such_method")) },
		"huge frame":     func(c *rawClient) { c.quiet([]byte{0xff, 0xff, 0xff, 0xff}) },
		"one-way error":  func(c *rawClient) { c.quiet(c.frame(true, "storea", zodb.OID(1), zodb.TID(0), []byte("x"), other)) },
		"register again": func(c *rawClient) { c.quiet(c.frame(false, "register", "1", false)) },
	}
}

// TestNothingIsLeftOfAConnection ends connections in each state in each way. An innocent
// client has the lock then; memory, descriptors, goroutines and files are as before, and the
// log has a few lines for each.
func TestNothingIsLeftOfAConnection(t *testing.T) {
	transports(t, Limits{Memory: 128 << 20}, func(t *testing.T, ts *testServer, _ *refusals, log *logBuffer) {
		innocent := ts.client(wire.Msgpack)
		x := &scene{serial: innocent.commit(1, innocent.commit(1, 0, "first"), "second")}
		free := ts.budgets.free()
		begin := inUse(t)
		n := 0
		for state, reach := range lastStates() {
			for end, say := range lastWords() {
				if n++; testing.Short() && n%5 != 0 {
					continue
				}
				what := fmt.Sprintf("%s, %s", state, end)
				x.c, x.holder = ts.client(encodingOf(n)), ts.client(encodingOf(n))
				reach(x)
				say(x.c)
				x.holder.conn.Close()
				// Those that only shut down one direction wait for the answers, and the others
				// for the end that the server makes.
				if strings.HasPrefix(end, "close") || end == "reset" || strings.HasPrefix(state, "half a frame") {
					x.c.conn.Close()
				}
				innocent.begin(other)
				innocent.oneWay("storea", zodb.OID(1), zodb.TID(1), record("i"), other)
				// It waits for the lock, and meets a conflict then.
				if got, err := innocent.try("vote", other); err != nil || len(elements(got)) != 1 {
					t.Fatalf("%s: the vote of somebody else: %v, %v", what, got, err)
				}
				innocent.call("tpc_abort", other)
				x.c.conn.Close()
				eventually(t, what+": it is gone", func() bool { return ts.Connections() == 1 })
				x.serial = zodb.TIDFromBytes(innocent.call("getTid", zodb.OID(1)).([]byte))
				x.serial = innocent.commit(1, x.serial, "meanwhile")
				eventually(t, what+": everything was given back", func() bool { return ts.budgets.free() == free })
				h := ts.order[0]
				eventually(t, what+": no transaction is left", func() bool {
					return h.stats.active.Load()+h.stats.holding.Load()+h.stats.waiting.Load() == 0
				})
			}
		}
		begin.notMoreThan(t)
		if left := staged(t, ts.storages["1"]); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
		if n := log.len(); n > 200_000 {
			t.Errorf("%d bytes of log", n)
		}
		if log.has("bug in the server") {
			t.Error("a panic")
		}
	})
}

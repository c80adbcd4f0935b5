package zeo

import (
	"bytes"
	"context"
	"errors"
	"math/big"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// randomValue is an argument of some kind, which may fit.
func randomValue(rnd *rand.Rand, depth int) any {
	kinds := 16
	if depth > 3 {
		kinds -= 3
	}
	switch rnd.IntN(kinds) {
	case 0:
		return nil
	case 1:
		return rnd.IntN(2) == 0
	case 2:
		return int64(rnd.IntN(100))
	case 3:
		return -1 - int64(rnd.IntN(1000))
	case 4:
		return rnd.Int64()
	case 5:
		return "x"
	case 6, 7:
		return zodb.OID(rnd.IntN(20))
	case 8:
		return []byte{}
	case 9:
		return make([]byte, rnd.IntN(3000))
	case 10:
		return 1.5
	case 11:
		return bytes.Repeat([]byte{0xff}, 8)
	case 12:
		return new(big.Int).SetUint64(1<<63 + uint64(rnd.IntN(9)))
	case 13:
		return wire.Tuple{randomValue(rnd, depth+1), randomValue(rnd, depth+1)}
	case 14:
		return wire.List{randomValue(rnd, depth+1), randomValue(rnd, depth+1)}
	default:
		return wire.Dict{{Key: "a", Value: randomValue(rnd, depth+1)}}
	}
}

// randomHandle is the transaction of those of the calls of randomCalls that fit.
const randomHandle = int64(7)

// call is a request as it is sent.
type call struct {
	oneWay bool
	name   string
	args   []any
}

// randomCalls are calls of all names with arguments that hardly ever fit, and in between some that
// open a transaction, so that others come further. In the end no transaction is left open: a pack
// that was asked for waits for those that were voted for. Only wild ones may end the connection:
// calls that want no answer, and names of nothing.
func randomCalls(rnd *rand.Rand, wild bool) (list []call) {
	var names []string
	for name := range methods {
		names = append(names, name)
	}
	slices.Sort(names)
	names = append(names, ".reply", "invalidateTransaction", "load", "__class__", "")
	begun := []any{randomHandle}
	for range 1 + rnd.IntN(40) {
		if rnd.IntN(3) == 0 {
			list = append(list, call{false, "tpc_begin", []any{randomHandle, []byte("u"), []byte("d"), wire.Dict{}, nil, " "}})
			for _, c := range []call{
				{wild, "storea", []any{zodb.OID(1 + rnd.IntN(2000)), zodb.TID(0), record("x"), randomHandle}},
				{wild, "storeBlobStart", nil},
				{false, "vote", []any{randomHandle}},
				{false, "tpc_finish", []any{randomHandle}},
			} {
				if c.name == "storeBlobStart" && rnd.IntN(8) > 0 || rnd.IntN(3) == 0 {
					continue
				}
				list = append(list, c)
			}
		}
		c := call{wild && rnd.IntN(20) == 0, names[rnd.IntN(len(methods))], nil}
		switch {
		case wild && rnd.IntN(10) == 0: // there is no such method, mostly
			c.name = names[rnd.IntN(len(names))]
		case !wild && c.name == "register":
			c.name = "ping"
		}
		for range rnd.IntN(7) {
			c.args = append(c.args, randomValue(rnd, 0))
		}
		if c.name == "tpc_begin" && len(c.args) > 0 {
			begun = append(begun, c.args[0])
		}
		list = append(list, c)
	}
	for _, handle := range begun {
		list = append(list, call{false, "tpc_abort", []any{handle}})
	}
	return append(list, call{false, "ping", nil})
}

// randomClients are the results of the calls of many connections.
type randomClients struct {
	t  *testing.T
	ts *testServer

	mu               sync.Mutex
	acknowledged     map[zodb.TID]bool // guarded by mu
	unknown          int               // guarded by mu: finishes of which the answer did not come
	answered, failed map[string]int    // guarded by mu: answers by name
	ended            int               // guarded by mu: connections that the server ended
}

// session makes calls on a connection. Each request is answered once, unless the server ends
// the connection. Some clients wait for the answer to a vote before they go on, as true ones do: a
// finish that comes before is refused.
func (r *randomClients) session(seed uint64) {
	c := r.ts.client(encodingOf(int(seed)))
	defer c.conn.Close()
	asked := make(map[any]string)
	var stream []byte
	var waits []wait
	rnd := rand.New(rand.NewPCG(seed, 11))
	wild, patient := rnd.IntN(3) == 0, rnd.IntN(2) == 0
	for _, call := range randomCalls(rnd, wild) {
		c.id++
		b, err := wire.AppendRequest(nil, c.enc, c.id, call.oneWay, call.name, call.args...)
		if err != nil {
			r.t.Errorf("%s%v: %v", call.name, call.args, err)
			return
		}
		stream = append(stream, frameOf(b)...)
		if call.oneWay && call.name == "tpc_finish" {
			r.mu.Lock()
			r.unknown++
			r.mu.Unlock()
		}
		if !call.oneWay {
			asked[c.id] = call.name
		}
		if patient && call.name == "vote" && len(call.args) == 1 && call.args[0] == randomHandle {
			waits = append(waits, wait{len(stream), c.id, make(chan struct{})})
		}
	}
	sent, gone := make(chan struct{}), make(chan struct{})
	go func(waits []wait) {
		defer close(sent)
		_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
		done := 0
		for _, w := range waits {
			_, _ = c.conn.Write(stream[done:w.behind])
			done = w.behind
			select {
			case <-w.answered:
			case <-gone:
				return
			}
		}
		_, _ = c.conn.Write(stream[done:])
	}(waits)
	defer func() {
		close(gone)
		c.conn.Close()
		<-sent
	}()
	for len(asked) > 0 {
		b, err := c.read()
		if err != nil {
			r.lost(seed, err, asked, wild)
			break
		}
		m, err := wire.Decode(c.enc, b)
		switch {
		case err != nil:
			r.t.Errorf("seed %d: the server sends %q: %v", seed, b, err)
			return
		case m.Name == ".reply":
			r.reply(seed, asked, &m)
			if len(waits) > 0 && m.ID == waits[0].id {
				close(waits[0].answered)
				waits = waits[1:]
			}
		case !slices.Contains([]string{"invalidateTransaction", "info"}, m.Name):
			r.t.Errorf("seed %d: the server calls %q", seed, m.Name)
		}
	}
}

// wait is a moment at which a client waits for an answer.
type wait struct {
	behind   int // the offset in its stream at which it waits
	id       any
	answered chan struct{}
}

// lost takes the end of a connection in.
func (r *randomClients) lost(seed uint64, err error, asked map[any]string, wild bool) {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		r.t.Errorf("seed %d: no answer to %v", seed, asked)
	} else if !wild {
		r.t.Errorf("seed %d: the connection was ended, with no answer to %v", seed, asked)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	for _, name := range asked {
		if name == "tpc_finish" {
			r.unknown++
		}
	}
}

// reply takes an answer in.
func (r *randomClients) reply(seed uint64, asked map[any]string, m *wire.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, ok := asked[m.ID]
	if !ok {
		r.t.Errorf("seed %d: an answer to %v, which was answered, or not asked", seed, m.ID)
	}
	delete(asked, m.ID)
	if m.Failed() {
		r.failed[name]++
		return
	}
	r.answered[name]++
	if b, ok := m.Args.([]byte); ok && name == "tpc_finish" {
		r.acknowledged[zodb.TIDFromBytes(b)] = true
	}
}

// innocent loads an object all the time, until stop is closed.
func (r *randomClients) innocent(oid zodb.OID, serial zodb.TID, want []byte, stop chan struct{}) {
	c := r.ts.client(wire.Msgpack)
	defer c.conn.Close()
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
		v, err := c.try("loadBefore", oid, zodb.TID(1<<63-1))
		if got := elements(v); err != nil || len(got) != 3 || !bytes.Equal(got[0].([]byte), want) || zodb.TIDFromBytes(got[1].([]byte)) != serial {
			r.t.Errorf("another client loads %v, %v", v, err)
			return
		}
	}
}

// TestRandomCallsHarmNobody: registered clients call existing methods, and others, with
// arguments of any kind. Each is answered, or its connection ended; the storage has the
// acknowledged transactions, and nothing that nobody sent; others are served meanwhile; in the end
// nothing is left of it all.
func TestRandomCallsHarmNobody(t *testing.T) {
	n := hometest.Rounds(t, 150)
	if testing.Short() {
		n = 60
	}
	transports(t, Limits{}, func(t *testing.T, ts *testServer, _ *refusals, log *logBuffer) {
		const innocent = zodb.OID(1 << 40)
		first := firstSeed(t)
		t.Logf("seeds from %d on", first)
		r := &randomClients{t: t, ts: ts, acknowledged: make(map[zodb.TID]bool), answered: make(map[string]int), failed: make(map[string]int)}
		c := ts.client(wire.Pickle)
		serial := c.commit(innocent, 0, "innocent")
		c.conn.Close()
		eventually(t, "the connection is gone", func() bool { return ts.Connections() == 0 })
		pools, before := ts.budgets.free(), inUse(t)

		stop, work := make(chan struct{}), make(chan uint64)
		var witness, clients sync.WaitGroup
		witness.Go(func() { r.innocent(innocent, serial, record("innocent"), stop) })
		for range 4 {
			clients.Go(func() {
				for seed := range work {
					r.session(seed)
				}
			})
		}
		for i := range n {
			work <- first + uint64(i)
		}
		close(work)
		clients.Wait()
		close(stop)
		witness.Wait()
		r.check(serial)
		if most := n * 4 << 10; log.len() > most {
			t.Errorf("%d bytes of log, more than %d", log.len(), most)
		}
		r.leaveSnapshot()
		ts.sound(log, 0)
		eventually(t, "all is given back", func() bool { return ts.budgets.free() == pools })
		before.notMoreThan(t)
		if left := staged(t, ts.storages["1"]); len(left) > 0 {
			t.Errorf("%v stays behind", left)
		}
		if list := scratchFiles(t, ts.storages["1"].Home()); len(list) > 0 {
			t.Errorf("%v stays behind", list)
		}
	})
}

// leaveSnapshot ends the snapshot that some client may have begun.
func (r *randomClients) leaveSnapshot() {
	c := r.ts.client(wire.Pickle)
	defer c.conn.Close()
	if code, _ := c.call("get_snapshot_code").(string); code != "" {
		c.call("leave_snapshot", code)
	}
}

// check compares the storage after a tid with the messages to clients.
func (r *randomClients) check(after zodb.TID) {
	s := r.ts.storages["1"]
	list := committed(r.t, s, after)
	unheard := 0
	for _, tx := range list {
		if !r.acknowledged[tx.TID] {
			unheard++
		}
		delete(r.acknowledged, tx.TID)
		for rec, err := range s.Records(context.Background(), tx) {
			if err != nil {
				r.t.Errorf("transaction %s: %v", tx.TID, err)
				continue
			}
			zeros := len(bytes.Trim(rec.Data, "\x00")) == 0
			if !zeros && !bytes.Equal(rec.Data, record("x")) {
				r.t.Errorf("transaction %s has data of object %s that nobody sent: %q", tx.TID, rec.OID, rec.Data)
			}
		}
	}
	for tid := range r.acknowledged {
		r.t.Errorf("transaction %s was acknowledged, and is not in the storage", tid)
	}
	if unheard > r.unknown {
		r.t.Errorf("%d transactions that nobody was told of; %d finishes have no answer", unheard, r.unknown)
	}
	if len(list) == unheard || r.ended == 0 {
		r.t.Errorf("%d transactions, %d of them unheard of, %d connections ended: not all that the test is about came to pass", len(list), unheard, r.ended)
	}
	for name := range methods {
		if name != "register" && r.answered[name]+r.failed[name] == 0 && !testing.Short() {
			r.t.Errorf("%s was never answered", name)
		}
	}
	r.t.Logf("%d transactions, %d of them unheard of; %d connections ended; answered %v, failed %v", len(list), unheard, r.ended, r.answered, r.failed)
}

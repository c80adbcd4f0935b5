package zeo

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// Numbers of TestAnswersAndAnnouncementsKeepTheirOrder.
const (
	orderObjects = 12
	orderWriters = 4
	orderReaders = 6
	orderQueue   = 20 // transactions of which can be told who was away
	orderAhead   = 20 // loads that a reader has under way
)

// order is one run: writers change a few objects, and readers look at each message in the
// order in which it comes.
type order struct {
	t       *testing.T
	ts      *testServer
	want    int64 // commits
	commits atomic.Int64
	told    atomic.Uint64               // the newest transaction of which a writer has the answer
	stop    chan struct{}               // closed: no writer goes on
	newest  atomic.Uint64               // oid
	objects [orderObjects]atomic.Uint64 // their oids; a deleter puts another in its place

	deletes, conflicts, sessions, verified, dropped atomic.Int64
}

// over reports whether the writers have ended.
func (o *order) over() bool {
	select {
	case <-o.stop:
		return true
	default:
		return false
	}
}

// acknowledged notes that a writer has the answer of a finish.
func (o *order) acknowledged(tid zodb.TID) {
	for {
		old := o.told.Load()
		if uint64(tid) <= old || o.told.CompareAndSwap(old, uint64(tid)) {
			return
		}
	}
}

func (o *order) object(rnd *rand.Rand) (place int, oid zodb.OID) {
	place = rnd.IntN(orderObjects)
	return place, zodb.OID(o.objects[place].Load())
}

// write commits until there were enough commits of all.
func (o *order) write(n int) {
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	c := o.ts.client(encodingOf(n))
	defer c.conn.Close()
	for o.commits.Load() < o.want {
		place, oid := o.object(rnd)
		serial := zodb.TID(0)
		if l, err := c.try("loadBefore", oid, zodb.TID(1<<63-1)); err == nil && l != nil {
			serial = zodb.TIDFromBytes(elements(l)[1].([]byte))
		}
		c.begin(mine)
		deleted := serial != 0 && rnd.IntN(12) == 0
		if deleted {
			c.oneWay("deleteObject", oid, serial, mine)
		} else {
			c.oneWay("storea", oid, serial, record(fmt.Sprint(rnd.IntN(1000))), mine)
		}
		if conflicts, err := c.try("vote", mine); err != nil || len(elements(conflicts)) > 0 {
			o.conflicts.Add(1)
			c.call("tpc_abort", mine)
			continue
		}
		o.acknowledged(zodb.TIDFromBytes(c.call("tpc_finish", mine).([]byte)))
		o.commits.Add(1)
		if deleted {
			o.deletes.Add(1)
			o.objects[place].Store(o.newest.Add(1))
		}
	}
}

// orderReader is a client with a cache, which outlives its connections.
type orderReader struct {
	*order
	n     int
	rnd   *rand.Rand
	cache map[zodb.OID]zodb.TID // the serials of the revisions that it takes for current
	last  zodb.TID              // the last announced one
}

// connection is one connection of it.
type connection struct {
	*rawClient
	*orderReader
	asked   map[any]zodb.OID      // loads under way
	pings   map[any]zodb.TID      // the last acknowledged one when they were sent
	changed map[zodb.OID]zodb.TID // as it was told on this connection
	early   [][]any               // announcements that came before the cache was compared
	valid   bool                  // the cache was compared
}

// next returns the next message; false: there is none, and the test has failed.
func (c *connection) next() (wire.Message, bool) {
	b, err := c.read()
	if err != nil {
		c.t.Errorf("reader %d: %v", c.n, err)
		return wire.Message{}, false
	}
	m, err := wire.Decode(c.enc, b)
	if err != nil {
		c.t.Errorf("reader %d: %v", c.n, err)
		return wire.Message{}, false
	}
	return m, true
}

func (c *connection) wrong(format string, args ...any) {
	c.t.Errorf("reader %d: "+format, append([]any{c.n}, args...)...)
}

// announced takes an announcement in.
func (c *connection) announced(args []any) {
	tid := zodb.TIDFromBytes(args[0].([]byte))
	if tid <= c.last {
		c.wrong("told of %s after %s", tid, c.last)
	}
	c.last = tid
	for _, b := range elements(args[1]) {
		oid := zodb.OIDFromBytes(b.([]byte))
		delete(c.cache, oid)
		c.changed[oid] = tid
	}
}

// compare makes the cache valid: from here on announcements count.
func (c *connection) compare() {
	c.valid = true
	for _, args := range c.early {
		if zodb.TIDFromBytes(args[0].([]byte)) > c.last {
			c.announced(args)
		}
	}
	c.early = nil
}

// answered takes an answer in. id is that of the request.
func (c *connection) answered(m wire.Message) {
	if oid, ok := c.asked[m.ID]; ok {
		delete(c.asked, m.ID)
		l := elements(m.Args)
		if m.Failed() || len(l) != 3 || l[2] != nil { // gone, or not current any more
			return
		}
		serial := zodb.TIDFromBytes(l[1].([]byte))
		if c.changed[oid] > serial {
			c.wrong("object %s at %s is answered as current after the announcement of %s", oid, serial, c.changed[oid])
		}
		if serial > c.last {
			c.wrong("object %s is answered at %s before that was announced, after %s", oid, serial, c.last)
		}
		c.cache[oid] = serial
		return
	}
	if told, ok := c.pings[m.ID]; ok {
		delete(c.pings, m.ID)
		if c.last < told {
			c.wrong("told up to %s when a ping is answered that was sent after %s was acknowledged", c.last, told)
		}
		return
	}
	c.wrong("an answer to %v", m.ID)
}

// enter registers and compares the cache, as clients do.
func (c *connection) enter() bool {
	id := c.request("register", "1", false)
	base := zodb.TID(0)
	for !c.valid {
		m, ok := c.next()
		switch {
		case !ok:
			return false
		case m.Name == "invalidateTransaction":
			c.early = append(c.early, elements(m.Args))
			continue
		case m.ID != id || m.Failed():
			c.wrong("%+v", m)
			return false
		}
		if id == 1 {
			base = zodb.TIDFromBytes(m.Args.([]byte))
			if base < c.last {
				c.wrong("registered at %s, and told of %s before", base, c.last)
			}
			if len(c.cache) > 0 && c.last < base {
				id = c.request("getInvalidations", c.last)
				continue
			}
			c.last = base
		} else if l := elements(m.Args); l == nil {
			c.dropped.Add(1)
			clear(c.cache)
			c.last = base
		} else {
			c.verified.Add(1)
			upTo := zodb.TIDFromBytes(l[0].([]byte))
			if upTo < c.last {
				c.wrong("told what was missed up to %s only, after %s", upTo, c.last)
			}
			c.last = upTo
			for _, b := range elements(l[1]) {
				delete(c.cache, zodb.OIDFromBytes(b.([]byte)))
			}
		}
		c.compare()
	}
	return true
}

// session has many loads under way, and now and then a ping. It hangs up after that number of
// messages, also with requests under way; the last connection stays until all was answered and
// told.
func (r *orderReader) session(messages int) (finished bool) {
	r.sessions.Add(1)
	raw := r.ts.dial(encodingOf(r.rnd.IntN(2)))
	defer raw.conn.Close()
	c := &connection{rawClient: raw, orderReader: r, asked: make(map[any]zodb.OID), pings: make(map[any]zodb.TID), changed: make(map[zodb.OID]zodb.TID)}
	if !c.enter() {
		return true
	}
	final := false
	for ; messages > 0 || r.over(); messages-- {
		switch {
		case !r.over():
			for len(c.asked) < orderAhead {
				_, oid := r.object(r.rnd)
				c.asked[c.request("loadBefore", oid, zodb.TID(1<<63-1))] = oid
			}
			if r.rnd.IntN(5) == 0 {
				told := zodb.TID(r.told.Load())
				c.pings[c.request("ping")] = told
			}
		case !final:
			final = true
			c.pings[c.request("ping")] = zodb.TID(r.told.Load())
		case len(c.asked)+len(c.pings) == 0:
			return true
		}
		m, ok := c.next()
		switch {
		case !ok:
			return true
		case m.Name == "invalidateTransaction":
			c.announced(elements(m.Args))
		default:
			c.answered(m)
		}
	}
	return false
}

// TestAnswersAndAnnouncementsKeepTheirOrder has clients look at each message in its order, with
// many requests under way and with caches that they carry from one connection to the next. No
// answer shows as current a revision whose change was announced before it, or is announced after
// it. Announcements rise, all acknowledged transactions are announced before a later ping is
// answered, and in the end no cache holds a stale revision.
func TestAnswersAndAnnouncementsKeepTheirOrder(t *testing.T) {
	n := hometest.Rounds(t, 1500)
	if testing.Short() {
		n = 200
	}
	transports(t, Limits{}, func(t *testing.T, ts *testServer, _ *refusals, log *logBuffer) {
		o := &order{t: t, ts: ts, want: int64(n), stop: make(chan struct{})}
		for i := range o.objects {
			o.objects[i].Store(o.newest.Add(1))
		}
		readers := make([]*orderReader, orderReaders)
		var reading, writing sync.WaitGroup
		for i := range readers {
			r := &orderReader{order: o, n: i, rnd: rand.New(rand.NewPCG(uint64(i), 2)), cache: make(map[zodb.OID]zodb.TID)}
			readers[i] = r
			reading.Go(func() {
				for !r.session(50 + r.rnd.IntN(500)) {
					if away := o.commits.Load() + orderQueue + 5; r.rnd.IntN(3) == 0 { // it misses more than can be told
						for !o.over() && o.commits.Load() < away {
							time.Sleep(time.Millisecond)
						}
					}
				}
			})
		}
		for i := range orderWriters {
			writing.Go(func() { o.write(i) })
		}
		writing.Wait()
		close(o.stop)
		reading.Wait()
		c := ts.client(wire.Msgpack)
		for _, r := range readers {
			for oid, serial := range r.cache {
				truth := zodb.TID(0)
				if l, err := c.try("loadBefore", oid, zodb.TID(1<<63-1)); err == nil && l != nil {
					truth = zodb.TIDFromBytes(elements(l)[1].([]byte))
				}
				if truth != serial {
					t.Errorf("reader %d believes that object %s is at %s, and it is at %s", r.n, oid, serial, truth)
				}
			}
		}
		t.Logf("%d commits, %d of them deletes, %d conflicts; %d connections of readers, %d caches compared, %d dropped",
			o.commits.Load(), o.deletes.Load(), o.conflicts.Load(), o.sessions.Load(), o.verified.Load(), o.dropped.Load())
		if !testing.Short() && (o.verified.Load() == 0 || o.dropped.Load() == 0 || o.deletes.Load() == 0) {
			t.Error("not all that the test is about came to pass")
		}
		if log.has("bug in the server") {
			t.Error("a panic")
		}
	}, func(o *Options) { o.InvalidationQueueSize, o.afterRead = orderQueue, delays(1) })
}

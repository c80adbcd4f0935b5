package bench

import (
	"math/rand/v2"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// loader loads objects over one connection, with depth requests under way.
type loader struct {
	c       *conn
	t       *template
	oids    []zodb.OID
	rnd     *rand.Rand
	clock   func() time.Time
	flights []flight
	hist    histogram
}

// flight is a request that was not answered yet.
type flight struct {
	oid  zodb.OID
	sent time.Time
}

func newLoader(c *conn, oids []zodb.OID, depth int, seed uint64, clock func() time.Time) (*loader, error) {
	t, err := newTemplate(c.e)
	return &loader{c: c, t: t, oids: oids, rnd: rand.New(rand.NewPCG(seed, 1)), clock: clock, flights: make([]flight, depth)}, err
}

// send appends a request in the place of one that was answered.
func (l *loader) send(f *flight, now time.Time) {
	f.oid = l.oids[l.rnd.IntN(len(l.oids))]
	f.sent = now
	l.c.out = l.t.append(l.c.out, f.oid, l.c.last+1)
}

// run loads until the window is over, and waits for the answers that are missing then.
func (l *loader) run(w window) error {
	now := l.clock()
	for i := range l.flights {
		l.send(&l.flights[i], now)
	}
	missing := len(l.flights)
	fresh := true // nothing was read since the last time that something was written
	for missing > 0 {
		if fresh {
			if err := l.c.flush(); err != nil {
				return err
			}
		}
		frame, err := l.c.raw.In.Next()
		if err != nil {
			return err
		}
		if fresh {
			now = l.clock() // one look at the clock for all that arrived together
		}
		if f := l.landed(frame); f != nil {
			if w.contains(now) {
				l.hist.add(now.Sub(f.sent))
			}
			if now.Before(w.end) {
				l.send(f, now)
			} else {
				f.oid = noOID
				missing--
			}
		} else if err := l.c.unexpected(frame); err != nil {
			return err
		}
		fresh = !l.c.raw.In.Buffered()
	}
	return nil
}

// noOID marks the place of a request that is not made any more.
const noOID = zodb.OID(1<<64 - 1)

// landed finds the request that a frame answers; nil if it answers none.
func (l *loader) landed(frame []byte) *flight {
	oid, ok := l.t.loaded(frame)
	if !ok {
		return nil
	}
	for i := range l.flights {
		if l.flights[i].oid == oid {
			return &l.flights[i]
		}
	}
	return nil
}

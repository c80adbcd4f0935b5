package zeo

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// loadBefore answers nearly all requests that there are: at once if the object
// is in memory, which it reports, else beside the reader. rawID is a part of the frame.
func (c *conn) loadBefore(rawID []byte, oid zodb.OID, tid zodb.TID) (atOnce bool) {
	h := c.hub
	h.stats.loads.Add(1)
	c.tally.loads.Add(1)
	sight := h.sight()
	if rev, ok := h.storage.LoadBeforeCached(oid, tid); ok && c.atOnce(len(rev.Data)) && c.showLoaded(sight, rawID, oid, &rev) {
		c.srv.o.Observer.Loaded(h.name, 0)
		return true
	}
	r := &request{c: c, rawID: append([]byte(nil), rawID...), name: "loadBefore"}
	c.loadSlowly(r, oid, tid)
	return false
}

// atOnce reports whether a record of n bytes that is in memory is put into the outbox by
// the reader of the connection.
func (c *conn) atOnce(n int) bool {
	return n <= c.out.few || n < largeBytes && !c.out.share.Overdrawn()
}

// showLoaded answers a loadBefore, unless the caller has to read again.
func (c *conn) showLoaded(s sight, rawID []byte, oid zodb.OID, rev *zodb.Revision) bool {
	shown, _ := s.show(c.ctx, oid, rev, func() error {
		c.out.putLoaded(c.encoding, rawID, rev)
		return nil
	})
	return shown
}

// loadBeforeAny is loadBefore in an unusual form.
func (c *conn) loadBeforeAny(r *request, a *arguments) error {
	oid, ok := a.get(0).([]byte)
	tid := a.tid(1)
	if a.err != nil || !ok || len(oid) != 8 {
		return r.fail(&pythonError{classPOSKey, wire.Tuple{shown(a.get(0))}})
	}
	c.hub.stats.loads.Add(1)
	c.tally.loads.Add(1)
	r.keep()
	c.loadSlowly(r, zodb.OIDFromBytes(oid), tid)
	return nil
}

// largeBytes is the size from which on one connection has one record at a time in memory.
const largeBytes = 1 << 20

// place is the room of an answer with a record: memory for it, and then a turn. It is
// used by one goroutine.
type place struct {
	turn
	memory portion
}

func (c *conn) place() *place {
	return &place{turn: turn{c: c}, memory: portion{c: c}}
}

// try reports whether a record of n bytes may stay in memory while the answer waits.
func (p *place) try(n int) bool {
	return (n < largeBytes || p.turn.try()) && p.memory.try(int64(n))
}

// wait waits until an answer of n bytes can be put into the outbox. While it waits for
// memory it has no turn: others that have memory wait for the turn.
func (p *place) wait(ctx context.Context, n int) error {
	if !p.memory.try(int64(n)) {
		p.turn.end()
		if err := p.memory.take(ctx, int64(n)); err != nil {
			return err
		}
	}
	if err := p.turn.wait(ctx); err != nil {
		return err
	}
	return p.turn.c.awaitRelief(ctx, n)
}

func (p *place) end() {
	p.turn.end()
	p.memory.end()
}

// readingInto is reading for a record of an object that goes to a place.
func (c *conn) readingInto(ctx context.Context, p *place, f func()) error {
	if p.memory.n > 0 {
		return c.reading(ctx, f)
	}
	return c.readingUnknown(ctx, f)
}

// loadBeforeFile loads a revision that may have to be read from the disk.
func (c *conn) loadBeforeFile(ctx context.Context, p *place, oid zodb.OID, tid zodb.TID) (rev *zodb.Revision, err error) {
	if err := c.readingInto(ctx, p, func() { rev, err = c.hub.storage.LoadBefore(ctx, oid, tid) }); err != nil {
		return nil, err
	}
	return rev, err
}

func (c *conn) loadSlowly(r *request, oid zodb.OID, tid zodb.TID) {
	c.slowly(func(ctx context.Context) error {
		h := c.hub
		begun := h.clock()
		place := c.place()
		defer place.end()
		if n := h.largeOnes.of(oid); n > 0 {
			if err := place.wait(ctx, n); err != nil {
				return err
			}
		}
		for {
			sight := h.sight()
			rev, err := c.loadBeforeFile(ctx, place, oid, tid)
			if err != nil {
				return r.fail(err)
			}
			if rev == nil {
				return r.answer(nil)
			}
			n := len(rev.Data)
			h.largeOnes.read(oid, n)
			if !place.try(n) {
				rev.Data = nil // not kept while this waits, which a pointer to it may be, on the stack
				rev = nil
			}
			if err := place.wait(ctx, n); err != nil {
				return err
			}
			if rev == nil {
				continue
			}
			if r.oneWay || c.showLoaded(sight, r.rawID, oid, rev) {
				c.srv.o.Observer.Loaded(h.name, h.clock().Sub(begun))
				return nil
			}
		}
	})
}

func (c *conn) loadSerial(r *request, a *arguments) error {
	oid, tid := a.oid(0), a.tid(1)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		place := c.place()
		defer place.end()
		if n := c.hub.largeOnes.of(oid); n > 0 {
			if err := place.wait(ctx, n); err != nil {
				return err
			}
		}
		for {
			var data []byte
			var err error
			if err := c.readingInto(ctx, place, func() { data, err = c.hub.storage.LoadSerial(ctx, oid, tid) }); err != nil {
				return err
			}
			if err != nil {
				return r.fail(err)
			}
			n, again := len(data), false
			c.hub.largeOnes.read(oid, n)
			if !place.try(n) {
				data, again = nil, true // not kept while this waits
			}
			if err := place.wait(ctx, n); err != nil {
				return err
			}
			if !again {
				return r.answer(data)
			}
		}
	})
	return nil
}

// read answers with the result of f, beside the reader.
func (c *conn) read(r *request, a *arguments, f func(ctx context.Context) (any, error)) error {
	return c.readLong(r, a, func(ctx context.Context, _ *bill) (any, error) { return f(ctx) })
}

// readLong is read for answers that may be long: f charges for its result. It is called
// again with more memory if that is not enough.
func (c *conn) readLong(r *request, a *arguments, f func(ctx context.Context, b *bill) (any, error)) error {
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		var sent error
		err := c.making(ctx, "the answer to "+r.name, func(b *bill) error {
			v, err := f(ctx, b)
			if err != nil {
				return err
			}
			turn := turn{c: c}
			defer turn.end()
			if sent = turn.wait(ctx); sent == nil {
				sent = r.answer(v)
			}
			return nil
		})
		if err != nil {
			return r.fail(err)
		}
		return sent
	})
	return nil
}

// readRecord is read for answers with a record: on one connection one at a time is in
// memory. f returns its length, too.
func (c *conn) readRecord(r *request, a *arguments, f func(ctx context.Context) (any, int, error)) error {
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		turn := turn{c: c}
		defer turn.end()
		if err := turn.wait(ctx); err != nil {
			return err
		}
		var v any
		var n int
		var err error
		if err := c.readingUnknown(ctx, func() { v, n, err = f(ctx) }); err != nil {
			return err
		}
		if err != nil {
			return r.fail(err)
		}
		c.hub.largeOnes.saw(n)
		c.has.answers.Add(int64(n)) // others have the less meanwhile
		defer c.has.answers.Give(int64(n))
		if err := c.awaitRelief(ctx, n); err != nil {
			return err
		}
		return r.answer(v)
	})
	return nil
}

// getTid answers with the serial of the current revision. Like a load, it must
// not be overtaken by an announcement.
func (c *conn) getTid(r *request, a *arguments) error {
	oid := a.oid(0)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	r.keep()
	c.slowly(func(ctx context.Context) error {
		h := c.hub
		for {
			sight := h.sight()
			var rev zodb.Revision
			var err error
			if err := c.readingUnknown(ctx, func() { rev, err = h.storage.Load(ctx, oid) }); err != nil {
				return err
			}
			if err != nil {
				return r.fail(err)
			}
			h.largeOnes.saw(len(rev.Data))
			rev.Data = nil
			if shown, err := sight.show(ctx, oid, &rev, func() error { return r.answer(rev.Serial) }); shown {
				return err
			}
		}
	})
	return nil
}

// maxHistory bounds one answer.
const maxHistory = 100_000

func (c *conn) history(r *request, a *arguments) error {
	if a.get(0) == nil {
		return r.fail(&pythonError{classPOSKey, wire.Tuple{nil}})
	}
	oid := a.oid(0)
	n := a.integer(1, 1)
	return c.readLong(r, a, func(ctx context.Context, b *bill) (any, error) {
		list := wire.List{}
		for e, err := range c.hub.storage.HistoryBackward(ctx, oid) {
			if err != nil {
				return nil, err
			}
			if len(list) >= min(n, maxHistory) {
				break
			}
			if err := b.charge(len(e.Meta.User) + len(e.Meta.Description) + len(e.Meta.Extension)); err != nil {
				return nil, err
			}
			d := wire.Dict{
				{Key: "time", Value: unixTime(e.TID)}, {Key: "user_name", Value: nonNil(e.Meta.User)},
				{Key: "description", Value: nonNil(e.Meta.Description)}, {Key: "tid", Value: e.TID}, {Key: "size", Value: int64(e.Size)},
			}
			d = merged(d, c.extension(e.Meta.Extension), false)
			if e.Damage != nil {
				c.log().Error("damage: a revision in the history of an object", "oid", oid, "tid", e.TID, "err", e.Damage)
				noteDamage(d, "damaged")
			}
			list = append(list, d)
		}
		return list, nil
	})
}

// extension returns the part of a transaction's extension that can be sent to the client.
func (c *conn) extension(pickled []byte) wire.Dict {
	return wire.UnpickleDict(pickled).Expressible(c.encoding)
}

// unixTime is the time of a transaction in seconds.
func unixTime(tid zodb.TID) float64 { return float64(tid.Time().UnixNano()) / 1e9 }

// nonNil makes sure that bytes are sent as bytes and not as None.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// merged adds an extension's keys to an entry; wins says which of two equal keys does.
func merged(d, extension wire.Dict, wins bool) wire.Dict {
	for _, p := range extension {
		key, ok := p.Key.(string)
		if !ok {
			continue
		}
		found := false
		for i := range d {
			if d[i].Key == key {
				found = true
				if wins {
					d[i].Value = p.Value
				}
			}
		}
		if !found {
			d = append(d, p)
		}
	}
	return d
}

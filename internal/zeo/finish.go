package zeo

import (
	"errors"

	"github.com/dirstorage/dirstorage/internal/zeo/stage"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// tpcFinish commits. The committer sends the answer, and the invalidations to others.
func (c *conn) tpcFinish(r *request, a *arguments) error {
	c.awaitFinish()
	x, err := c.current(a, 0)
	if err != nil {
		return r.answerNone(err)
	}
	if !c.countFinish() {
		return nil
	}
	f, ok := x.stage.StartFinish()
	if !ok {
		c.finishEnded()
		return errors.Join(r.fail(&pythonError{classAssertion, wire.Tuple{}}), c.drained())
	}
	if t := f.Work().timer; t != nil { // its end does not depend on the client any more, but maybe on another one
		t.Stop()
	}
	r.keep()
	c.beside(func() error { return c.runFinish(r, f) })
	return nil
}

// countFinish counts a finish until finishEnded, so that a shutdown waits for its answer. It reports false if the
// shutdown waits for nothing more: nothing is committed of which the client would not hear.
func (c *conn) countFinish() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deaf.Load() {
		return false
	}
	c.finishes++
	return true
}

func (c *conn) finishEnded() {
	c.mu.Lock()
	c.finishes--
	c.mu.Unlock()
}

// answerNone answers None to a call about a transaction that is not open; other
// errors are told.
func (r *request) answerNone(err error) error {
	if e, ok := errors.AsType[*pythonError](err); ok && e.class == classTransaction {
		return r.answer(nil)
	}
	return r.fail(err)
}

func (c *conn) runFinish(r *request, f *stage.Finish[*work, *step]) error {
	defer f.Leave()
	h, w := c.hub, f.Work()
	begun := h.clock()
	w.seenBy.enter(begun)
	oids := w.t.OIDs()
	sorted := sortedOIDs(oids) // here, because all other commits wait for an announcement
	var sent error
	_, err := w.t.Finish(c.ctx, func(tid zodb.TID) {
		h.blobStates.uploaded(w.blobs, tid)
		if h.blobs != nil {
			h.blobs.share(append(w.blobs, w.undone...), tid)
		}
		h.stats.commits.Add(1)
		c.tally.committed(tid, w.seenBy)
		h.announce(announcement{tid: tid, oids: oids, sorted: sorted, committer: c, last: func() {
			sent = errors.Join(c.put("info", h.size()), r.answer(tid))
		}})
	})
	c.closeTxn(w)
	f.End()
	if err != nil {
		sent = r.fail(err)
	}
	h.spread(c)
	if sent == nil {
		sent = c.out.flushAll() // a shutdown may end the connection as soon as it was sent
	}
	if h.blobs != nil {
		h.blobs.tidy()
	}
	c.srv.o.Observer.Committed(h.name, h.clock().Sub(begun))
	c.finishEnded()
	if sent == nil {
		sent = c.drained()
	}
	return sent
}

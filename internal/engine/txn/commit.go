package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Finish commits a transaction that was voted for, and returns its tid when it
// is durable. It ignores ctx: there is no way back.
// published, if not nil, is called once the transaction can be read, before
// Finish returns and in the order of the tids over all transactions. It must
// be quick, because the next ones wait for it. Of the storage it may call Counts,
// LastTransaction, LoadBeforeCached and LinkBlob, which wait for nobody.
//
// While a transaction with a tid given at Begin is voted for, the Finish of every other one waits
// for its end. So nobody may hold back the end of such a transaction until another one has finished.
//
// Errors: zodb.ErrState; zodb.ErrReadOnly or ErrClosed; ErrDiskFull or ErrScarce: in
// these cases the transaction is not committed. *UnknownOutcomeError if the disk failed at the
// commit point. In any case the transaction has ended.
func (t *Txn) Finish(_ context.Context, published func(zodb.TID)) (zodb.TID, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.expect(txnVoted); err != nil {
		return 0, err
	}
	t.state = txnEnded
	q := &commitRequest{txn: t, published: published, done: make(chan struct{})}
	defer func() { // also when the caller's own commit panics
		if err := t.end(); err != nil {
			t.m.o.Log.Warn("could not remove a transaction's temporary files; the next open will", "tid", q.tid, "err", err)
		}
	}()
	switch alone, ok := t.m.commits.put(q); {
	case !ok:
		q.err = zodb.ErrClosed
	case alone != nil:
		t.m.work(alone)
	default:
		<-q.done
	}
	return q.tid, q.err
}

type commitRequest struct {
	txn       *Txn
	published func(zodb.TID)
	tid       zodb.TID
	err       error
	done      chan struct{}
}

// commitQueue holds the transactions that wait for the committer.
type commitQueue struct {
	mu        sync.Mutex
	filled    sync.Cond // of mu: wanted requests wait, or the time for gathering is over
	waiting   []*commitRequest
	wanted    int  // this number wakes the committer
	gathering bool // there is time to wait for them
	closed    bool
	ended     chan struct{}
	given     givenTID

	coming atomic.Int64 // transactions that hold their locks in Vote, or were voted for
	since  atomic.Int64 // when the commit began that is under way, in nanoseconds since 1970; 0: there is none

	lastSync time.Duration // guarded by mu: how long the last commit took
	siblings int           // guarded by mu: transactions that were under way when it ended, those in it included
}

// maxGather bounds how long the committer waits for transactions that come.
const maxGather = time.Millisecond

// gather waits a little for as many transactions as were under way a commit
// ago, because their writers tend to come again: at most half as long as a
// commit takes, so that they share the next fsync instead of needing one more.
// A single writer is never waited for. No processor is used meanwhile: the writers
// need it to come.
func (c *commitQueue) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.waiting) >= c.siblings {
		return
	}
	// A timer that is late ends the next gathering early, or none: no harm.
	timer := time.AfterFunc(min(c.lastSync/2, maxGather), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.gathering = false
		c.filled.Signal()
	})
	defer timer.Stop()
	c.gathering, c.wanted = true, c.siblings
	for c.gathering && len(c.waiting) < c.wanted && !c.closed {
		c.filled.Wait()
	}
}

func (c *commitQueue) start(m *Manager) {
	c.filled.L = &c.mu
	c.ended, c.given.turn = make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(c.ended)
		for c.wait() {
			c.gather()
			if batch := c.take(); batch != nil {
				m.work(batch)
			}
		}
	}()
}

// work commits transactions that were taken from the queue. If that panics the storage has failed:
// whoever recovers goes on with one that refuses all others, and lets none of them wait for ever.
func (m *Manager) work(batch []*commitRequest) {
	c, begun, ended := &m.commits, m.o.Clock(), false
	c.since.Store(begun.UnixNano())
	defer func() {
		if !ended {
			m.broken(batch)
		}
		c.since.Store(0)
		c.worked(len(batch), m.o.Clock().Sub(begun))
	}()
	m.commit(batch)
	ended = true
}

// broken ends transactions whose commit has panicked: nobody knows how far it came.
func (m *Manager) broken(batch []*commitRequest) {
	err := m.o.State.Fail(errors.New("commit: a bug in the server ended it in the middle"))
	for _, q := range batch {
		select {
		case <-q.done: // it had come to its end
			continue
		default:
		}
		q.err = &zodb.UnknownOutcomeError{TID: q.tid, Cause: err}
		q.txn.pending = nil // it may be committed
		for _, b := range q.txn.blobs {
			b.kept = true
		}
		close(q.done)
	}
}

// put queues a request; ok is false if the storage is closed. A request that nobody else is near is
// taken from the queue again, as alone: the caller commits it, with [Manager.work], and so does not
// wait until another goroutine has.
func (c *commitQueue) put(q *commitRequest) (alone []*commitRequest, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.given.leaving && q.txn.given != 0 { // which others may have overtaken
		return nil, false
	}
	c.waiting = append(c.waiting, q)
	if len(c.waiting) == 1 && c.siblings <= 1 && c.given.txn == nil && !c.given.working {
		return c.takeAll(), true
	}
	if len(c.waiting) >= c.wanted && !c.given.working {
		c.filled.Signal()
	}
	return nil, true
}

// wait waits for requests; it reports false when there will be none.
func (c *commitQueue) wait() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = 1
	for c.given.working || !c.ready() && !c.closed {
		c.filled.Wait()
	}
	return len(c.waiting) > 0
}

// ready reports whether there are requests, and those that can be taken. mu must be held.
func (c *commitQueue) ready() bool {
	_, come := c.first()
	return come && len(c.waiting) > 0
}

// take takes all requests; none if they have to wait for another one.
func (c *commitQueue) take() []*commitRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, come := c.first()
	if c.given.working || !come && !c.closed {
		return nil
	}
	batch := c.waiting
	if t := c.given.txn; t != nil && batch[first].txn == t {
		q := batch[first]
		copy(batch[1:first+1], batch[:first])
		batch[0] = q
		c.giveUpTurn(t) // its next holder waits for this commit
	}
	return c.takeAll()
}

// takeAll takes all requests, for a commit that begins. mu must be held.
func (c *commitQueue) takeAll() []*commitRequest {
	batch := c.waiting
	c.waiting = nil
	c.given.working = true
	for _, q := range batch {
		q.txn.notComing()
	}
	return batch
}

// stop finishes the queued requests and ends the committer.
func (c *commitQueue) stop() {
	c.mu.Lock()
	c.closed, c.given.leaving = true, true
	c.filled.Signal()
	c.mu.Unlock()
	<-c.ended
}

// commit is the group commit: the only place where transactions become
// committed. It is called by the committer alone.
func (m *Manager) commit(batch []*commitRequest) {
	batch, frames := m.number(batch)
	if len(batch) == 0 {
		return
	}
	if err := m.o.Home.Check(); err != nil {
		m.refuse(batch, err)
		return
	}
	begun := m.o.Clock()
	err := m.journal.Commit(frames) // the commit point is in here
	m.o.Observer.Synced(m.o.Clock().Sub(begun), len(frames))
	if _, refused := errors.AsType[*journal.RefusedError](err); refused {
		m.refuse(batch, err)
		return
	}
	if err != nil {
		err = m.o.State.Fail(fmt.Errorf("commit: %w", err))
		for _, q := range batch {
			q.err = &zodb.UnknownOutcomeError{TID: q.tid, Cause: err}
			for _, b := range q.txn.blobs {
				b.kept = true
			}
			close(q.done)
		}
		return
	}
	m.publish(batch, frames)
}

// refuse ends transactions of which nothing was written. Only an error that passes
// leaves the storage as it was.
func (m *Manager) refuse(batch []*commitRequest, err error) {
	err = fmt.Errorf("the transaction was not committed: %w", err)
	if vfs.Passes(err) {
		err = m.o.State.Refused(err)
	} else {
		err = m.o.State.Fail(err)
	}
	for _, q := range batch {
		q.err = err
		close(q.done)
	}
}

// number gives each transaction its tid, in the order in which they came.
// Those that cannot have the one that they were promised drop out.
func (m *Manager) number(batch []*commitRequest) ([]*commitRequest, []journal.CommitRecord) {
	last, err := m.o.State.Tail()
	highest := m.o.OIDs.Highest()
	numbered := batch[:0:0]
	var frames []journal.CommitRecord
	for _, q := range batch {
		tid := q.txn.given
		if tid == 0 {
			tid = max(zodb.TIDFromTime(m.o.Clock()), last+1, m.o.Read.Packed()+1) // up to x.packed they count as packed
		} else if err == nil && tid <= last {
			q.err = oldTID(tid, last, "was committed meanwhile")
		}
		if err != nil {
			q.err = err
		}
		if q.err != nil {
			close(q.done)
			continue
		}
		q.tid = tid
		frames = append(frames, journal.CommitRecord{Txn: q.txn.pending, TID: tid, Previous: last, MaxOID: highest})
		numbered = append(numbered, q)
		last = tid
	}
	return numbered, frames
}

// publish makes committed transactions visible, and lets go of their locks.
func (m *Manager) publish(batch []*commitRequest, frames []journal.CommitRecord) {
	now := m.o.Clock()
	list, claims := make([]*state.Committed, len(batch)), make([]*state.Claim, len(batch))
	for i := range batch {
		list[i] = m.newCommitted(frames[i], now)
		list[i].Objects = batch[i].txn.objects(list[i])
		claims[i] = &batch[i].txn.claim
	}
	m.o.State.Publish(list, claims)
	for _, q := range batch {
		m.noteCommitted(q.txn)
		if q.published != nil {
			q.published(q.tid)
		}
	}
	// All are published before the first one returns: a server that sends messages about
	// one transaction then finds those about the rest of the batch, too.
	for _, q := range batch {
		if t := q.txn; t.held != nil {
			t.held.Unlock()
			t.held = nil
		}
		close(q.done)
	}
}

// noteCommitted drops the means of aborting a transaction: it is committed.
func (m *Manager) noteCommitted(t *Txn) {
	t.pending = nil
	for op := range t.ops.all() {
		if op.gone {
			m.o.Read.Deleted(op.oid)
		}
		if b := op.blob(); b != nil {
			b.kept = true
		}
	}
}

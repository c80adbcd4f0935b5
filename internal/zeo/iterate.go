package zeo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxIterators bounds the open iterators of one connection.
const maxIterators = 10_000

// iterators are the open ones of a connection.
type iterators struct {
	mu   sync.Mutex
	next int64
	open map[int64]*cursor // guarded by mu
	live []*cursor         // guarded by mu: those that are in the middle of a walk, the one longest unused first
}

// cursor is one iterator: over transactions, or over the records of one.
type cursor struct {
	mu sync.Mutex // held over each step

	// Over transactions:
	from, to zodb.TID
	pull     func() (*zodb.Transaction, error, bool)
	stop     func()            // nil: it is in the middle of no walk, and begins one at from
	last     *zodb.Transaction // most recently returned
	failed   error             // there is nothing to be had any more
	broken   zodb.TID          // the transaction whose broken link was told last

	closed bool
	memory int64 // of the share of iterators, for last or of

	// Over records, if of is not nil:
	of *zodb.Transaction
	at int
}

// add opens an iterator. besides is the memory that others hold for the transaction that
// it is at.
func (it *iterators) add(c *conn, k *cursor, besides int64) (int64, error) {
	if share := c.has.iterators; !share.Try(cursorMemory) {
		if besides == 0 || share.Held()-besides > fewCursors*cursorMemory {
			return 0, c.scarce("another iterator")
		}
		share.Add(cursorMemory)
	}
	id, err := it.enter(k)
	if err != nil {
		c.has.iterators.Give(cursorMemory)
	}
	return id, err
}

func (it *iterators) enter(k *cursor) (int64, error) {
	it.mu.Lock()
	defer it.mu.Unlock()
	if len(it.open) >= maxIterators {
		return 0, &pythonError{classStorage, wire.Tuple{fmt.Sprintf("%d iterators are open on this connection, which is the limit", maxIterators)}}
	}
	if it.open == nil {
		it.open = make(map[int64]*cursor)
	}
	id := it.next
	it.next++
	it.open[id] = k
	return id, nil
}

// get returns an iterator, or the error that clients expect of one that has ended.
func (it *iterators) get(id int64) (*cursor, error) {
	it.mu.Lock()
	defer it.mu.Unlock()
	k := it.open[id]
	if k == nil {
		return nil, &pythonError{classKey, wire.Tuple{id}}
	}
	return k, nil
}

func (it *iterators) remove(c *conn, id int64) {
	it.mu.Lock()
	k := it.open[id]
	delete(it.open, id)
	it.mu.Unlock()
	if k != nil {
		k.close(c)
	}
}

func (it *iterators) close(c *conn) {
	it.mu.Lock()
	open := it.open
	it.open = nil
	it.mu.Unlock()
	for _, k := range open {
		k.close(c)
	}
}

// close ends an iterator, which nobody finds any more.
func (k *cursor) close(c *conn) {
	c.iterators.forget(k)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pause()
	k.closed = true
	c.has.iterators.Give(k.memory + cursorMemory)
	k.memory = 0
}

// pause ends the walk of a cursor, which goes on with a new one. k.mu must be held.
func (k *cursor) pause() {
	if k.stop != nil {
		k.stop()
		k.pull, k.stop = nil, nil
	}
}

const (
	// cursorMemory is the memory of an iterator, in bytes.
	cursorMemory = 512
	// fewCursors is how many iterators may be open beside one that is at a large transaction.
	fewCursors = 256
	// maxLive is how many iterators of a connection are in the middle of a walk: each has
	// a block of transactions in memory. The others begin anew where they were.
	maxLive = 4
)

// alive notes that a cursor is in the middle of a walk, and ends that of another one if
// there are too many.
func (it *iterators) alive(k *cursor) {
	it.mu.Lock()
	it.live = append(slices.DeleteFunc(it.live, func(other *cursor) bool { return other == k }), k)
	var oldest *cursor
	if len(it.live) > maxLive {
		oldest = it.live[0]
		it.live = it.live[1:]
	}
	it.mu.Unlock()
	// One that is being used at this moment comes here itself afterwards.
	if oldest != nil && oldest.mu.TryLock() {
		oldest.pause()
		oldest.mu.Unlock()
	}
}

// forget takes a cursor out of those that are in the middle of a walk.
func (it *iterators) forget(k *cursor) {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.live = slices.DeleteFunc(it.live, func(other *cursor) bool { return other == k })
}

// iteratorStart sees the transactions that are finished now.
func (c *conn) iteratorStart(r *request, a *arguments) error {
	k := &cursor{from: a.tidOr0(0), to: zodb.TID(c.hub.announced.Load())}
	if a.get(1) != nil {
		k.to = min(k.to, a.tid(1))
	}
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	if err := c.hub.wholeFrom(k.from); err != nil {
		return r.fail(err)
	}
	id, err := c.iterators.add(c, k, 0)
	if err != nil {
		return r.fail(err)
	}
	return r.answer(id)
}

// wholeFrom returns an error if packs have removed transactions since one whose revisions
// are still there: a copy that goes by transactions would lack them.
func (h *hub) wholeFrom(from zodb.TID) error {
	packed := h.storage.Status().Packed
	if !h.packsUndo() || from >= packed {
		return nil
	}
	return &pythonError{classStorage, wire.Tuple{fmt.Sprintf("this storage was packed to %s with keep_policy undoable, so transactions before that are gone of which objects are still there: "+
		"a copy by its transactions would lack these; use dirstorage export or a backup", packed)}}
}

func (c *conn) iteratorNext(r *request, a *arguments) error {
	id := int64(a.integer(0, 0))
	return c.read(r, a, func(context.Context) (any, error) {
		k, err := c.iterators.get(id)
		if err != nil {
			return nil, err
		}
		t, err := k.nextTransaction(c)
		if err != nil {
			return nil, err
		}
		if t == nil {
			c.iterators.remove(c, id)
			return nil, nil
		}
		c.iterators.alive(k)
		extension := c.extension(t.Extension)
		if extension == nil {
			extension = wire.Dict{}
		}
		return wire.Tuple{t.TID, string(rune(t.Status)), nonNil(t.User), nonNil(t.Description), extension}, nil
	})
}

// nextTransaction returns nil at the end.
func (k *cursor) nextTransaction(c *conn) (*zodb.Transaction, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of != nil || k.closed {
		return nil, &pythonError{classKey, wire.Tuple{"no iterator over transactions"}}
	}
	if k.to == 0 || k.from > k.to {
		return nil, nil
	}
	if k.pull == nil {
		k.pull, k.stop = iter.Pull2(c.hub.storage.Transactions(c.ctx, k.from, k.to))
	}
	if k.failed != nil { // the end would look like that of the transactions
		return nil, k.failed
	}
	t, err, ok := k.pull()
	link := errors.Is(err, zodb.ErrBrokenLink)
	if link && t != nil && t.TID == k.broken { // told before the walk began anew
		t, err, ok = k.pull()
		link = false
	}
	switch {
	case err != nil && t == nil:
		k.failed = err
	case link: // its transaction comes next
		k.from, k.broken = t.TID, t.TID
	case err != nil:
		k.from = t.TID + 1
	}
	if err != nil { // about one transaction, and the next call goes on behind it
		k.last = nil
		if t != nil {
			err = wire.BreakTransaction(t.TID, err) // a client takes the same error again for an iterator that stands still
		}
		return nil, err
	}
	if !ok {
		return nil, nil
	}
	if !k.hold(c, t, 0) {
		k.pause() // the next try begins at this transaction
		return nil, c.scarce("another iterator at a large transaction")
	}
	k.last, k.from = t, t.TID+1
	return t, nil
}

// hold takes the memory for a transaction in place of that for the one before, without
// waiting: iterators stay open for as long as the client likes. One large transaction on
// each connection is never refused, nor are its records: it cannot be read in another way.
// beside is the memory that the iterator over transactions holds for the same one. k.mu
// must be held.
func (k *cursor) hold(c *conn, t *zodb.Transaction, beside int64) bool {
	size := 8*int64(len(t.OIDs)) + int64(len(t.User)+len(t.Description)+len(t.Extension))
	share := c.has.iterators
	switch more := size - k.memory; {
	case more <= 0:
		share.Give(-more)
	case share.Try(more):
	case share.Held()-k.memory-beside <= fewCursors*cursorMemory:
		share.Add(more)
	default:
		return false
	}
	k.memory = size
	return true
}

func (c *conn) iteratorRecordStart(r *request, a *arguments) error {
	id, tid := int64(a.integer(0, 0)), a.tid(1)
	if a.err != nil {
		return r.fail(&typeError{a.err.Error()})
	}
	k, err := c.iterators.get(id)
	if err != nil {
		return r.fail(err)
	}
	k.mu.Lock()
	of, beside := k.last, k.memory
	k.mu.Unlock()
	if of == nil || of.TID != tid {
		return r.fail(&pythonError{"builtins.Exception", wire.Tuple{"the records of the transaction that was returned last can be had, of no other"}})
	}
	records := &cursor{of: of}
	if !records.hold(c, of, beside) {
		return r.fail(c.scarce("another iterator at a large transaction"))
	}
	recordID, err := c.iterators.add(c, records, beside+records.memory)
	if err != nil {
		c.has.iterators.Give(records.memory)
		return r.fail(err)
	}
	return r.answer(recordID)
}

func (c *conn) iteratorRecordNext(r *request, a *arguments) error {
	id := int64(a.integer(0, 0))
	return c.readRecord(r, a, func(ctx context.Context) (any, int, error) {
		k, err := c.iterators.get(id)
		if err != nil {
			return nil, 0, err
		}
		rec, ok, err := k.nextRecord(ctx, c.hub)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			c.iterators.remove(c, id)
			return nil, 0, nil
		}
		var data, dataTID any
		if rec.Exists {
			data = nonNil(rec.Data)
		}
		if rec.DataTID != 0 {
			dataTID = rec.DataTID
		}
		return wire.Tuple{rec.OID, rec.TID, data, dataTID}, len(rec.Data), nil
	})
}

// nextRecord passes over records that were packed away.
func (k *cursor) nextRecord(ctx context.Context, h *hub) (zodb.Record, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		return zodb.Record{}, false, &pythonError{classKey, wire.Tuple{"an iterator over transactions"}}
	}
	for k.at < len(k.of.OIDs) {
		one := *k.of
		one.OIDs = k.of.OIDs[k.at : k.at+1]
		k.at++
		for rec, err := range h.storage.Records(ctx, &one) {
			if err != nil {
				err = fmt.Errorf("object %s: %w", one.OIDs[0], err) // of a frame with many, each has another error
			}
			return rec, err == nil, err
		}
	}
	return zodb.Record{}, false, nil
}

func (c *conn) iteratorGC(r *request, a *arguments) error {
	var ids []any
	switch l := a.get(0).(type) {
	case wire.List:
		ids = l
	case wire.Tuple:
		ids = l
	default:
		return r.fail(&typeError{"iterator_gc takes a list"})
	}
	for _, id := range ids {
		if n, ok := id.(int64); ok {
			c.iterators.remove(c, n)
		}
	}
	return r.answer(nil)
}

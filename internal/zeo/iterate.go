package zeo

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxIterators bounds what one connection may have open.
const maxIterators = 10_000

// iterators are the open ones of a connection.
type iterators struct {
	mu   sync.Mutex
	next int64
	open map[int64]*cursor // guarded by mu
}

// cursor is one iterator: over transactions, or over the records of one.
type cursor struct {
	mu sync.Mutex // held over each step

	// Over transactions:
	from, to zodb.TID
	pull     func() (*zodb.Transaction, error, bool)
	stop     func()
	last     *zodb.Transaction // most recently returned
	failed   error             // there is nothing to be had any more

	// Over records, if of is not nil:
	of *zodb.Transaction
	at int
}

func (it *iterators) add(k *cursor) (int64, error) {
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

func (it *iterators) remove(id int64) {
	it.mu.Lock()
	k := it.open[id]
	delete(it.open, id)
	it.mu.Unlock()
	if k != nil {
		k.close()
	}
}

func (it *iterators) close() {
	it.mu.Lock()
	open := it.open
	it.open = nil
	it.mu.Unlock()
	for _, k := range open {
		k.close()
	}
}

func (k *cursor) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stop != nil {
		k.stop()
	}
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
	id, err := c.iterators.add(k)
	if err != nil {
		return r.fail(err)
	}
	return r.answer(id)
}

func (c *conn) iteratorNext(r *request, a *arguments) error {
	id := int64(a.integer(0, 0))
	return c.read(r, a, func(context.Context) (any, error) {
		k, err := c.iterators.get(id)
		if err != nil {
			return nil, err
		}
		t, err := k.nextTransaction(c.ctx, c.hub)
		if err != nil {
			return nil, err
		}
		if t == nil {
			c.iterators.remove(id)
			return nil, nil
		}
		extension := c.extension(t.Extension)
		if extension == nil {
			extension = wire.Dict{}
		}
		return wire.Tuple{t.TID, string(rune(t.Status)), nonNil(t.User), nonNil(t.Description), extension}, nil
	})
}

// nextTransaction returns nil at the end.
func (k *cursor) nextTransaction(ctx context.Context, h *hub) (*zodb.Transaction, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of != nil {
		return nil, &pythonError{classKey, wire.Tuple{"an iterator over records"}}
	}
	if k.to == 0 || k.from > k.to {
		return nil, nil
	}
	if k.pull == nil {
		k.pull, k.stop = iter.Pull2(h.storage.Transactions(ctx, k.from, k.to))
	}
	if k.failed != nil { // the end would look like that of the transactions
		return nil, k.failed
	}
	t, err, ok := k.pull()
	if err != nil && t == nil {
		k.failed = err
	}
	if err != nil { // about one transaction, and the next call goes on behind it
		k.last = nil
		return nil, err
	}
	if !ok {
		return nil, nil
	}
	k.last = t
	return t, nil
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
	of := k.last
	k.mu.Unlock()
	if of == nil || of.TID != tid {
		return r.fail(&pythonError{"builtins.Exception", wire.Tuple{"the records of the transaction that was returned last can be had, of no other"}})
	}
	recordID, err := c.iterators.add(&cursor{of: of})
	if err != nil {
		return r.fail(err)
	}
	return r.answer(recordID)
}

func (c *conn) iteratorRecordNext(r *request, a *arguments) error {
	id := int64(a.integer(0, 0))
	return c.read(r, a, func(ctx context.Context) (any, error) {
		k, err := c.iterators.get(id)
		if err != nil {
			return nil, err
		}
		rec, ok, err := k.nextRecord(ctx, c.hub)
		if err != nil {
			return nil, err
		}
		if !ok {
			c.iterators.remove(id)
			return nil, nil
		}
		var data, dataTID any
		if rec.Exists {
			data = nonNil(rec.Data)
		}
		if rec.DataTID != 0 {
			dataTID = rec.DataTID
		}
		return wire.Tuple{rec.OID, rec.TID, data, dataTID}, nil
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
			c.iterators.remove(n)
		}
	}
	return r.answer(nil)
}

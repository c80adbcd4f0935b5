package zeoclient

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// aheadTransactions is how many transactions are asked for before the first of them was taken.
	aheadTransactions = 16
	// aheadRecords is how many records of each of them may wait to be taken.
	aheadRecords = 4
)

// Transaction is one of an iteration. OIDs and Previous are not filled in, and its Extension is a
// pickle made of the values received, or nil if that would be too long.
type Transaction struct {
	zodb.Transaction
	Sent wire.Dict // the extension as it was sent

	ctx     context.Context // ends with the iteration, or when the next transaction is asked for
	records chan recordOrError
}

// recordOrError is a record, an error, or the end. Without one of the last two
// the fetching was interrupted.
type recordOrError struct {
	rec  zodb.Record
	err  error
	more bool // behind an error
	end  bool
}

// Records yields the records in the order of the storage, once. An oid may occur
// more than once, then the last one counts. HasBlob is not filled in. A *ServerError may
// be about one record that the server cannot read; then the others come behind it.
func (t *Transaction) Records() iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		for {
			select {
			case r := <-t.records:
				if r.end || !yield(r.rec, r.err) || r.err != nil && !r.more {
					return
				}
			case <-t.ctx.Done():
				yield(zodb.Record{}, t.ctx.Err())
				return
			}
		}
	}
}

// Iterate yields the transactions with from <= tid <= to as they were when it
// began; 0 stands for the first and the last one. Records of a transaction can
// be read until the next one is asked for. Further transactions are fetched meanwhile.
func (c *Client) Iterate(ctx context.Context, from, to zodb.TID) iter.Seq2[*Transaction, error] {
	return c.IterateSalvage(ctx, from, to, nil)
}

// IterateSalvage is Iterate that asks skip about each error of the server in the place of a
// transaction, and goes on behind it if it says so. An error that comes again is the end.
//
// The iteration ends with an error that says so where it does not go on, and where the server lists no
// more before the transaction that was its last one: Python's ends its list without an error at some kinds of damage. A
// server that answers nothing, see Options.Patience, ends the connection.
func (c *Client) IterateSalvage(ctx context.Context, from, to zodb.TID, skip func(error) bool) iter.Seq2[*Transaction, error] {
	return func(yield func(*Transaction, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		it := &iteration{c: c, skips: skip != nil, out: make(chan lane, aheadTransactions)}
		stop, ended := c.patiently(ctx), make(chan struct{})
		go func() {
			defer close(ended)
			it.run(ctx, from, to)
		}()
		defer func() {
			cancel()
			stop()
			<-ended
			it.collect()
		}()
		for t := range it.out {
			if t.err != nil && skip(t.err) {
				continue
			}
			if t.err != nil {
				yield(nil, t.err)
				return
			}
			more := yield(t.Transaction, nil)
			t.cancel()
			if !more {
				return
			}
		}
		if it.err != nil {
			yield(nil, it.err)
		}
	}
}

// iteration fetches headers one after the other, and the records of some
// transactions side by side.
type iteration struct {
	c     *Client
	skips bool
	out   chan lane // closed at the end, when err is set
	err   error
	gone  []any // ids of iterators, which the server may have forgotten
	lanes []chan struct{}
}

// lane is a transaction whose records are being fetched.
type lane struct {
	*Transaction
	cancel context.CancelFunc
	err    error // in the place of a transaction
}

func (it *iteration) run(ctx context.Context, from, to zodb.TID) {
	defer close(it.out)
	// A Python server closes the file under all iterators when one is at its end.
	// As some are ahead of those that are read, none may come there.
	last, err := it.c.LastTransaction(ctx)
	if err != nil || last == 0 || from > last {
		it.err = err
		return
	}
	if to == 0 || to > last {
		to = last
	}
	id, err := it.c.Call(ctx, "iterator_start", noneOr(from), nil)
	if err != nil {
		it.err = err
		return
	}
	it.gone = append(it.gone, id)
	next := it.c.Start("iterator_next", id)
	var at, passed zodb.TID
	var skipped errorsInARow
	for {
		v, err := next.Wait(ctx)
		if told, ok := errors.AsType[*ServerError](err); ok && it.skips && skipped.goesOn(err) {
			passed = wire.BrokenTransaction(told.Details)
			select {
			case it.out <- lane{err: err, cancel: func() {}}:
			case <-ctx.Done():
				it.err = ctx.Err()
				return
			}
			next = it.c.Start("iterator_next", id)
			continue
		}
		if err == nil && v == nil {
			it.gone = nil // the server forgets it at its end
			if passed != last {
				it.err = endsEarly(at, last)
			}
			return
		}
		var t *Transaction
		if err == nil {
			t, err = header(v)
		}
		if err != nil || t.TID > to {
			it.err = err
			return
		}
		if t.TID <= at {
			it.err = protocolError("the server lists transaction %s behind %s: its iterator does not go on", t.TID, at)
			return
		}
		at, skipped = t.TID, errorsInARow{}
		records := it.c.Start("iterator_record_start", id, t.TID)
		if t.TID < to {
			// The server knows the records of the last transaction only, but has got that request before this one.
			next = it.c.Start("iterator_next", id)
		}
		if err := it.give(ctx, t, records); err != nil || t.TID == to {
			it.err = err
			return
		}
		it.forget()
	}
}

// endsEarly is the error of a list of transactions that ends at one before the last.
func endsEarly(at, last zodb.TID) error {
	where := "begins with its end"
	if at != 0 {
		where = fmt.Sprintf("ends at %s", at)
	}
	return fmt.Errorf("the list of transactions on the server %s, and its last one is %s: those between are missing here. "+
		"Python's server ends the list without an error where its Data.fs is damaged: look into its log. If a pack has removed the last transaction, start that server again first", where, last)
}

// give hands a transaction on, whose records are fetched from then on.
func (it *iteration) give(ctx context.Context, t *Transaction, records *Pending) error {
	own, cancel := context.WithCancel(ctx)
	t.ctx = own
	select {
	case it.out <- lane{Transaction: t, cancel: cancel}:
	case <-ctx.Done():
		cancel()
		return ctx.Err()
	}
	ended := make(chan struct{})
	it.lanes = append(it.lanes, ended)
	go func() {
		defer close(ended)
		t.fetch(own, it.c, records)
	}()
	return nil
}

// forget drops the lanes that have ended.
func (it *iteration) forget() {
	for len(it.lanes) > 0 {
		select {
		case <-it.lanes[0]:
			it.lanes = it.lanes[1:]
		default:
			return
		}
	}
}

// collect waits for the lanes and tells the server which iterators are not wanted any more.
func (it *iteration) collect() {
	for t := range it.out {
		t.cancel()
	}
	for _, l := range it.lanes {
		<-l
	}
	if len(it.gone) > 0 {
		// Best effort: they end with the connection.
		_ = it.c.OneWay("iterator_gc", wire.List(it.gone))
	}
}

func header(v any) (*Transaction, error) {
	list, err := sequence(v, 5)
	if err != nil {
		return nil, err
	}
	t := &Transaction{records: make(chan recordOrError, aheadRecords)}
	if t.TID, err = asTID(list[0]); err != nil {
		return nil, err
	}
	status, err := asBytes(list[1])
	if err != nil || len(status) != 1 {
		return nil, protocolError("the status %.20q of a transaction", status)
	}
	t.Status = status[0]
	if t.User, err = asBytes(list[2]); err != nil {
		return nil, err
	}
	if t.Description, err = asBytes(list[3]); err != nil {
		return nil, err
	}
	switch x := list[4].(type) {
	case nil:
	case wire.Dict:
		t.Sent = x
		// One that cannot be kept is left out, as Python does with one that it cannot read.
		t.Extension, _ = wire.PickleDict(x, zodb.MaxMetaLen)
	case []byte:
		t.Extension = x
		t.Sent = wire.UnpickleDict(x)
	}
	return t, nil
}

// fetch gets the records of a transaction, each when there is room for it.
func (t *Transaction) fetch(ctx context.Context, c *Client, start *Pending) {
	id, err := start.Wait(ctx)
	var unreadable errorsInARow
	var equal equalRecords
	for err == nil {
		var r recordOrError
		r, err = next(ctx, c, id)
		switch _, told := errors.AsType[*ServerError](err); {
		case told && unreadable.goesOn(err):
			r, err = recordOrError{err: err, more: true}, nil
		case err == nil && !r.end:
			err = equal.err(&r.rec)
		}
		if err != nil {
			break
		}
		select {
		case t.records <- r:
			if r.end {
				return
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if ctx.Err() != nil {
		if id != nil {
			// Best effort: it ends with the connection.
			_ = c.OneWay("iterator_gc", wire.List{id})
		}
		return
	}
	select {
	case t.records <- recordOrError{err: err}:
	case <-ctx.Done():
	}
}

func next(ctx context.Context, c *Client, id any) (recordOrError, error) {
	v, err := c.Call(ctx, "iterator_record_next", id)
	if err != nil {
		return recordOrError{}, err
	}
	if v == nil {
		return recordOrError{end: true}, nil
	}
	rec, err := record(v)
	return recordOrError{rec: rec}, err
}

func record(v any) (zodb.Record, error) {
	var rec zodb.Record
	list, err := sequence(v, 4)
	if err != nil {
		return rec, err
	}
	if rec.OID, err = asOID(list[0]); err != nil {
		return rec, err
	}
	if rec.TID, err = asTID(list[1]); err != nil {
		return rec, err
	}
	if list[2] != nil {
		rec.Exists = true
		if rec.Data, err = asBytes(list[2]); err != nil {
			return rec, err
		}
	}
	rec.DataTID, err = tidOrNone(list[3])
	return rec, err
}

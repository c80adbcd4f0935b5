package read

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Transaction returns one transaction. The error matches zodb.ErrNotFound if
// there is none with that tid, or if it was packed away.
func (r *Reader) Transaction(ctx context.Context, tid zodb.TID) (*zodb.Transaction, error) {
	if !r.o.Home.Full {
		return nil, zodb.ErrUnsupported
	}
	var t *zodb.Transaction
	err := r.validated(ctx, func() error {
		if c := r.o.State.Transaction(tid); c != nil {
			t = r.publicTransaction(c.File())
			return nil
		}
		rev, err := r.TransactionFile(tid)
		if err == nil {
			t = r.publicTransaction(rev)
		}
		return err
	})
	return t, err
}

// blockSize is how many transactions [Reader.Transactions] turns round at once, and
// blockBytes how many bytes of memory they take, if it is more than one.
const (
	blockSize  = 1024
	blockBytes = 256 << 10
)

// memoryOf returns the memory of a transaction, in bytes.
func memoryOf(t *zodb.Transaction) int {
	return 128 + 8*len(t.OIDs) + len(t.User) + len(t.Description) + len(t.Extension)
}

// Transactions yields the transactions with from <= tid <= to, oldest first; to
// = 0 means up to the last one. The files of transactions name the one before,
// so the chain is walked back once for marks and then block by block forward:
// each file is read twice, but for those of the oldest block, and the memory is that of a
// block, 256 KiB or one transaction, and of one mark (8 bytes) for each block. A damaged
// transaction comes with an error, as in [Reader.TransactionsBackward], and later ones
// follow.
func (r *Reader) Transactions(ctx context.Context, from, to zodb.TID) iter.Seq2[*zodb.Transaction, error] {
	return untilClosed(ctx, r, r.transactions(ctx, from, to))
}

func (r *Reader) transactions(ctx context.Context, from, to zodb.TID) iter.Seq2[*zodb.Transaction, error] {
	return func(yield func(*zodb.Transaction, error) bool) {
		var marks []zodb.TID // the newest transaction of each block, newest block first
		var block []listed   // the oldest one
		bytes := 0           // in the block
		n := 0               // transactions in it
		for t, err := range r.TransactionsBackward(ctx, 0) {
			if t == nil {
				yield(nil, err)
				return
			}
			if t.TID < from {
				break
			}
			if to != 0 && t.TID > to {
				continue
			}
			if !errors.Is(err, zodb.ErrBrokenLink) { // which belongs to the one before
				n, bytes = n+1, bytes+memoryOf(t)
				if len(marks) == 0 || n > blockSize || bytes > blockBytes {
					marks, n, bytes, block = append(marks, t.TID), 1, memoryOf(t), block[:0]
				}
			}
			block = append(block, listed{t, err})
		}
		for i := len(marks) - 1; i >= 0; i-- {
			var err error
			if i+1 < len(marks) {
				block, err = r.block(ctx, marks[i], marks[i+1]+1)
			}
			for j := len(block) - 1; j >= 0; j-- {
				if !yield(block[j].t, block[j].err) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

// listed is a transaction, or only its tid with its damage.
type listed struct {
	t   *zodb.Transaction
	err error
}

// block returns the transactions from one back to from, newest first. Those that are packed meanwhile are
// passed over.
func (r *Reader) block(ctx context.Context, newest, from zodb.TID) ([]listed, error) {
	for newest != 0 {
		block, err := r.backTo(ctx, newest, from)
		if len(block) > 0 || !errors.Is(err, zodb.ErrNotFound) || !r.PackedAway(newest) {
			return block, err
		}
		if newest, err = r.olderThan(ctx, newest); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// backTo is block without a pack.
func (r *Reader) backTo(ctx context.Context, newest, from zodb.TID) ([]listed, error) {
	var block []listed
	for t, err := range r.TransactionsBackward(ctx, newest) {
		if t == nil {
			return nil, err
		}
		if t.TID < from {
			break
		}
		block = append(block, listed{t, err})
	}
	return block, nil
}

// Records yields the records of a transaction, in the order first stored. A
// Revision that was packed away is passed over; one that is missing otherwise is a
// *zodb.CorruptError.
func (r *Reader) Records(ctx context.Context, t *zodb.Transaction) iter.Seq2[zodb.Record, error] {
	return untilClosed(ctx, r, r.records(ctx, t))
}

func (r *Reader) records(ctx context.Context, t *zodb.Transaction) iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		near := r.near()
		defer near.release()
		for _, oid := range t.OIDs {
			if err := ctx.Err(); err != nil {
				yield(zodb.Record{}, err)
				return
			}
			rec, err := r.recordNear(ctx, near, oid, t.TID)
			if errors.Is(err, zodb.ErrNotFound) {
				if err = r.WhyNoRevision(oid, t.TID); err == nil {
					continue
				}
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// RecentTransactions returns the last n transactions, newest first. With an error it returns
// those later than the damage.
func (r *Reader) RecentTransactions(ctx context.Context, n int) ([]*zodb.Transaction, error) {
	var list []*zodb.Transaction
	if n <= 0 {
		return nil, nil
	}
	for t, err := range r.backward(ctx, 0, false) {
		if err != nil {
			return list, err
		}
		if list = append(list, t); len(list) == n {
			break
		}
	}
	return list, nil
}

// deadline is a moment after which a long answer is cut short; zero = never.
type deadline struct {
	clock func() time.Time
	at    time.Time
}

func (r *Reader) historyDeadline() deadline {
	d := deadline{clock: r.o.Clock}
	if limit := r.o.Home.Settings.Storage.HistoryTimeout; limit > 0 {
		d.at = r.o.Clock().Add(limit)
	}
	return d
}

func (d deadline) passed() bool { return !d.at.IsZero() && d.clock().After(d.at) }

// TransactionSize returns the bytes of data, blobs not included, that a
// transaction stored, without reading them. Revisions that were packed away
// count nothing.
func (r *Reader) TransactionSize(ctx context.Context, t *zodb.Transaction) (int64, error) {
	var size int64
	for _, oid := range t.OIDs {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := r.dataSize(ctx, oid, t.TID)
		if errors.Is(err, fs.ErrNotExist) {
			if err = r.WhyNoRevision(oid, t.TID); err == nil {
				continue
			}
		}
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

func (r *Reader) dataSize(ctx context.Context, oid zodb.OID, tid zodb.TID) (size int64, err error) {
	err = r.validated(ctx, func() error {
		if rev, ok := r.o.State.Revision(oid, tid); ok {
			size = rev.Entry.Len
			return nil
		}
		size, err = r.o.Store.Stat(layout.Revision(oid, tid))
		size -= record.ObjectHeaderSize
		return err
	})
	return size, err
}

// TransactionFile reads the file of a transaction; the error matches
// zodb.ErrNotFound if there is none.
func (r *Reader) TransactionFile(tid zodb.TID) (*record.Transaction, error) {
	b, where, err := r.o.Store.Get(layout.Transaction(tid))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no transaction %s: %w", tid, zodb.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return record.ParseTransactionAs(b, where, tid, true)
}

// publicTransaction returns a transaction as iteration delivers it. It counts as packed
// if it was where it was copied from, or if the storage was packed to a later time.
func (r *Reader) publicTransaction(t *record.Transaction) *zodb.Transaction {
	status := zodb.StatusDone
	if t.Packed || r.PackedAway(t.TID) {
		status = zodb.StatusPacked
	}
	return &zodb.Transaction{TID: t.TID, Previous: t.Previous, Status: status, OIDs: t.OIDs,
		TxnMeta: zodb.TxnMeta{User: t.User, Description: t.Description, Extension: t.Extension}}
}

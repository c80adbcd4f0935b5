package transfer

import (
	"context"
	"io"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// ConvertOptions of [Convert].
type ConvertOptions struct {
	Progress func(Progress) // may be nil; called after each transaction
	// Copy: all that the storage has is of from. So a pack of from may have taken the last of it.
	Copy bool
}

// Convert brings the transactions of another storage that this one does not have yet into it, with
// their tids, users, undo records and blobs, up to the last one that from has when it begins.
// Revisions whose transaction was packed away, and all of class Minimal, come in transactions that
// are made up. What packs have put aside is left behind. A storage that is not empty must end with a
// transaction that from holds too; else the error matches ErrOther and nothing is changed. When ctx
// ends, it stops between two transactions.
//
// from may be open in another process that writes; what a pack takes from it meanwhile is an error.
func Convert(ctx context.Context, s Target, from zodb.Storage, o ConvertOptions) (Imported, error) {
	im := newImporter(s, &otherStorage{s: from, to: from.LastTransaction()}, BlobsRequired, o.Progress)
	var err error
	if last := im.result.LastTID; o.Copy && last != 0 && last <= from.Status().Packed {
		err = im.runFrom(ctx, last+1)
	} else {
		err = im.run(ctx)
	}
	return im.result, err
}

// otherStorage is a storage as a source.
type otherStorage struct {
	s           zodb.Storage
	to          zodb.TID
	done, total int64 // transactions
}

func (o *otherStorage) name() string { return "that storage" }

func (o *otherStorage) begin(context.Context, bool) error {
	if n := o.s.Counts(); n.Exact {
		o.total = n.Transactions
	}
	return nil
}

func (o *otherStorage) transactions(ctx context.Context, from zodb.TID) iter.Seq2[*sourceTxn, error] {
	return func(yield func(*sourceTxn, error) bool) {
		if o.to == 0 {
			return
		}
		w := walk{s: o.s, from: from, to: o.to}
		if from > 0 {
			o.total = 0 // how many are left is not known
		}
		for txn, err := range w.transactions(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			o.done++
			if !yield(&sourceTxn{Transaction: *txn, records: o.s.Records(ctx, txn)}, nil) {
				return
			}
		}
	}
}

func (o *otherStorage) hasBlob(rec zodb.Record) bool { return rec.HasBlob }

func (o *otherStorage) openBlob(ctx context.Context, rec zodb.Record) (io.ReadCloser, error) {
	return o.s.OpenBlob(ctx, rec.OID, rec.TID)
}

func (o *otherStorage) progress() (done, total int64) { return o.done, max(o.total, 0) }

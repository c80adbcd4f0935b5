package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// ConvertOptions of [Convert].
type ConvertOptions struct {
	Progress func(Progress) // may be nil; called after each transaction
	// Copy: all that the storage has was once of from. So a pack of from may have taken the last of
	// it; then the current revisions are compared instead.
	Copy bool
	// Load is the way around the log; with a Loader in it the Target is nil. nil: all goes through the
	// Target.
	Load *Load
}

// Convert brings the transactions of another storage that this one does not have yet into it, with
// their tids, users, undo records and blobs, up to the last one that from has when it begins.
// Revisions whose transaction was packed away, and all of class Minimal, come in transactions that
// are made up. Files that packs have put aside are left behind. A storage that is not empty must end with a
// transaction that from holds too; else the error matches ErrOther and nothing is changed. When ctx
// ends, it stops between two transactions.
//
// from may be open in another process that writes; a revision that a pack takes from it meanwhile is
// an error, or is copied. It is read in a goroutine of its own, a bounded amount ahead.
func Convert(ctx context.Context, s Target, from zodb.Storage, o ConvertOptions) (Imported, error) {
	im := newImporter(s, &otherStorage{s: from, to: from.LastTransaction()}, BlobsRequired, o.Progress)
	im.load = o.Load
	err := im.convert(ctx, from, o.Copy)
	return im.result, err
}

func (im *importer) convert(ctx context.Context, from zodb.Storage, isCopy bool) error {
	last := im.result.LastTID
	if !isCopy || last == 0 || last > from.Status().Packed {
		return im.run(ctx)
	}
	if err := sameCurrent(ctx, im.s, from, last); err != nil {
		return err
	}
	return im.runFrom(ctx, last+1)
}

// sameCurrent makes sure that revisions current in from, and not later than a transaction, are current
// in the copy as well. A pack never takes a current revision and leaves an older one, so the error
// says that the two have different histories; it matches ErrOther.
func sameCurrent(ctx context.Context, s Target, from zodb.Storage, last zodb.TID) error {
	for oid, err := range from.OIDs(ctx) {
		if err != nil {
			return err
		}
		want, err := currentSerial(ctx, from, oid)
		if err != nil {
			return err
		}
		if want == 0 || want > last {
			continue
		}
		have, err := currentSerial(ctx, s, oid)
		if err != nil {
			return err
		}
		if have != 0 && have != want { // a pack of the copy may have taken the object
			return &otherError{from.Home(), fmt.Sprintf("the current revision of object %s is of transaction %s there, and of %s here", oid, want, have)}
		}
	}
	return nil
}

// currentSerial returns the tid of the newest revision of an object; 0: it has none.
func currentSerial(ctx context.Context, s interface {
	Serials(ctx context.Context, oid zodb.OID) iter.Seq2[zodb.TID, error]
}, oid zodb.OID) (zodb.TID, error) {
	for serial, err := range s.Serials(ctx, oid) {
		if errors.Is(err, zodb.ErrNotFound) {
			return 0, nil
		}
		return serial, err
	}
	return 0, nil
}

// otherStorage is a storage as a source.
type otherStorage struct {
	s           zodb.Storage
	to          zodb.TID
	done, total int64 // transactions
}

func (o *otherStorage) name() string { return o.s.Home() }

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
		for txn, err := range transactionsAhead(ctx, w.transactions, o.s) {
			if err != nil {
				yield(nil, err)
				return
			}
			o.done++
			if !yield(&sourceTxn{Transaction: *txn.Transaction, records: txn.records}, nil) {
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

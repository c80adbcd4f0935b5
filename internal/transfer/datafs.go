package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxTID is the last tid that a transaction can have.
const maxTID zodb.TID = 1<<63 - 2

// dataFS is a Data.fs as a source.
type dataFS struct {
	r      *filestorage.Reader
	blobs  vfs.FS // nil = there is no blob directory
	layout filestorage.BlobLayout
	after  filestorage.Position // behind the transaction read last
	// Of the transaction that is being read:
	fileTID zodb.TID
}

func (d *dataFS) name() string { return "this Data.fs" }

func (d *dataFS) begin(_ context.Context, withBlobs bool) (err error) {
	if d.blobs != nil && withBlobs {
		d.layout, err = filestorage.DetectLayout(d.blobs, ".")
	}
	return err
}

func (d *dataFS) transactions(ctx context.Context, from zodb.TID) iter.Seq2[*sourceTxn, error] {
	return func(yield func(*sourceTxn, error) bool) {
		var before filestorage.Position
		switch {
		case from > 0 && d.after.TID == from-1:
			before = d.after
		case from > 0:
			var err error
			if before, _, err = d.r.FindTID(ctx, from-1); err != nil {
				yield(nil, err)
				return
			}
		}
		for txn, err := range d.r.Transactions(ctx, before) {
			switch {
			case err != nil:
			case txn.TID > maxTID:
				err = fmt.Errorf("%w: transaction %s, at byte %d, has a tid that is too large", ErrOrder, txn.TID, txn.Pos)
			case txn.TID <= txn.Previous:
				err = fmt.Errorf("%w: they do not grow: transaction %s, at byte %d, is not later than %s, the one before it", ErrOrder, txn.TID, txn.Pos, txn.Previous)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			d.fileTID, d.after = txn.FileTID, txn.End()
			if !yield(&sourceTxn{Transaction: txn.Transaction, records: lastRecords(txn), renumbered: txn.TID != txn.FileTID}, nil) {
				return
			}
		}
	}
}

func lastRecords(txn *filestorage.Txn) iter.Seq2[zodb.Record, error] {
	return func(yield func(zodb.Record, error) bool) {
		for rec, err := range txn.LastRecords() {
			if !yield(rec.Record, err) {
				return
			}
		}
	}
}

func (*dataFS) hasBlob(rec zodb.Record) bool { return filestorage.IsBlobRecord(rec.Data) }

func (d *dataFS) openBlob(_ context.Context, rec zodb.Record) (io.ReadCloser, error) {
	if d.blobs == nil {
		return nil, fmt.Errorf("object %s has a %w, and no blob directory is given", rec.OID, ErrBlob)
	}
	name := d.layout.Path(rec.OID, d.fileTID)
	f, err := d.blobs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &missingBlobError{rec.OID, d.blobs.Path(name)}
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d *dataFS) progress() (done, total int64) { return d.r.Offset(), d.r.Size() }

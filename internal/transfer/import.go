package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Errors of an import, for errors.Is.
var (
	// ErrOther: the storage holds transactions that are not those of the Data.fs.
	ErrOther = errors.New("the storage is not a copy of this Data.fs")
	// ErrBlob: a record needs a blob that is not there.
	ErrBlob = errors.New("blob")
)

// BlobPolicy says what an import does about blobs.
type BlobPolicy uint8

// The policies. An import that finds a record of a blob and may not skip it
// stops before its transaction.
const (
	BlobsRequired    BlobPolicy = iota // each must be in the blob directory
	BlobsSkipMissing                   // the records of those that are missing are imported without
	BlobsNone                          // all records are imported without
)

// Progress tells how far a copy has come.
type Progress struct {
	Transactions int64
	Records      int64
	Done, Total  int64 // of the whole work, in units that only their ratio has a meaning of; Total 0 = unknown
}

// ImportOptions of [Import].
type ImportOptions struct {
	// Blobs is the root of the blob directory; nil = there is none. Its files are
	// copied, never moved.
	Blobs    vfs.FS
	Policy   BlobPolicy
	Progress func(Progress) // may be nil; called after each transaction
}

// Imported is what an import has done; complete also when it ended with an error.
type Imported struct {
	Transactions int64                   `json:"transactions"` // new ones
	Records      int64                   `json:"records"`
	Bytes        int64                   `json:"bytes"` // of records and blobs
	Blobs        int64                   `json:"blobs"`
	MissingBlobs int64                   `json:"missing_blobs"`
	Before       zodb.TID                `json:"before"` // the last transaction when it began
	LastTID      zodb.TID                `json:"last_tid"`
	Truncated    *filestorage.Truncation `json:"truncated,omitempty"` // the end of the file was torn
	Warnings     int64                   `json:"warnings"`
}

// Import brings the transactions of a Data.fs that the storage does not have
// yet into it. A storage that is not empty must end with a transaction that the
// file holds too, with the same content; else the error matches ErrOther and
// nothing is changed. Each transaction is durable when the progress tells of
// it. When ctx ends, it stops between two transactions.
func Import(ctx context.Context, s *dirstorage.Storage, r *filestorage.Reader, o ImportOptions) (Imported, error) {
	im := importer{s: s, o: o}
	im.result.Before = s.LastTransaction()
	im.result.LastTID = im.result.Before
	err := im.run(ctx, r)
	im.result.Truncated, im.result.Warnings = r.Truncated(), r.Warnings()
	return im.result, err
}

type importer struct {
	s      *dirstorage.Storage
	o      ImportOptions
	layout filestorage.BlobLayout
	result Imported
}

func (im *importer) run(ctx context.Context, r *filestorage.Reader) error {
	if im.o.Blobs != nil && im.o.Policy != BlobsNone {
		var err error
		if im.layout, err = filestorage.DetectLayout(im.o.Blobs, "."); err != nil {
			return err
		}
	}
	from, err := im.start(ctx, r)
	if err != nil {
		return err
	}
	for txn, err := range r.Transactions(ctx, from) {
		if err == nil {
			err = im.copyTransaction(ctx, txn)
		}
		if err != nil {
			return err
		}
		if im.o.Progress != nil {
			im.o.Progress(Progress{Transactions: im.result.Transactions, Records: im.result.Records, Done: r.Offset(), Total: r.Size()})
		}
	}
	return nil
}

// start finds the place in the file that the storage has come to.
func (im *importer) start(ctx context.Context, r *filestorage.Reader) (filestorage.Position, error) {
	last := im.result.Before
	if last == 0 {
		return filestorage.Position{}, nil
	}
	// The position behind the one before, so that the last common one is read again.
	before, _, err := r.FindTID(ctx, last-1)
	if err != nil {
		return before, err
	}
	for txn, err := range r.Transactions(ctx, before) {
		if err != nil {
			return before, err
		}
		if txn.TID != last {
			break
		}
		return txn.End(), im.compareLast(ctx, txn)
	}
	return before, fmt.Errorf("%w: its last transaction %s is not in the file", ErrOther, last)
}

// compareLast makes sure that the last transaction of the storage is the one of
// the file that has the same tid.
func (im *importer) compareLast(ctx context.Context, want *filestorage.Txn) error {
	differs := func(what string) error {
		return fmt.Errorf("%w: transaction %s has other %s there", ErrOther, want.TID, what)
	}
	have, err := im.s.Transaction(ctx, want.TID)
	switch {
	case errors.Is(err, dirstorage.ErrUnsupported), errors.Is(err, zodb.ErrNotFound):
		have = nil // class Minimal, or packed away: the records have to do
	case err != nil:
		return err
	case !bytes.Equal(have.User, want.User) || !bytes.Equal(have.Description, want.Description) || !bytes.Equal(have.Extension, want.Extension):
		return differs("texts")
	}
	records := 0
	for rec, err := range want.LastRecords() {
		if err != nil {
			return err
		}
		records++
		got, err := im.s.LoadRecord(ctx, rec.OID, rec.TID)
		if errors.Is(err, zodb.ErrNotFound) {
			return differs("objects")
		}
		if err != nil {
			return err
		}
		if got.Exists != rec.Exists || !bytes.Equal(got.Data, rec.Data) {
			return differs("data of object " + rec.OID.String())
		}
	}
	if have != nil && records != len(have.OIDs) {
		return differs("objects")
	}
	return nil
}

func (im *importer) copyTransaction(ctx context.Context, txn *filestorage.Txn) (err error) {
	out, err := im.s.Begin(ctx, txn.TxnMeta, dirstorage.BeginOptions{TID: txn.TID, Status: txn.Status})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Abort()) }()
	var n Imported
	for rec, err := range txn.LastRecords() {
		if err == nil {
			err = im.copyRecord(ctx, out, rec.Record, &n)
		}
		if err != nil {
			return fmt.Errorf("transaction %s: %w", txn.TID, err)
		}
	}
	if err := out.Vote(ctx); err != nil {
		return fmt.Errorf("transaction %s: %w", txn.TID, err)
	}
	if _, err := out.Finish(ctx, nil); err != nil {
		return fmt.Errorf("transaction %s: %w", txn.TID, err)
	}
	im.result.Transactions++
	im.result.Records += n.Records
	im.result.Bytes += n.Bytes
	im.result.Blobs += n.Blobs
	im.result.MissingBlobs += n.MissingBlobs
	im.result.LastTID = txn.TID
	return nil
}

func (im *importer) copyRecord(ctx context.Context, out *dirstorage.Txn, rec zodb.Record, n *Imported) error {
	n.Records++
	n.Bytes += int64(len(rec.Data))
	if im.o.Policy == BlobsNone || !rec.Exists || !filestorage.IsBlobRecord(rec.Data) {
		return out.Restore(ctx, rec, nil)
	}
	if im.o.Blobs == nil {
		return fmt.Errorf("%w: object %s is one, and no blob directory was given", ErrBlob, rec.OID)
	}
	name := im.layout.Path(rec.OID, rec.TID)
	f, err := im.o.Blobs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if im.o.Policy == BlobsSkipMissing {
			n.MissingBlobs++
			return out.Restore(ctx, rec, nil)
		}
		return fmt.Errorf("%w: that of object %s is missing: %s", ErrBlob, rec.OID, im.o.Blobs.Path(name))
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		n.Blobs++
		n.Bytes += info.Size
		err = out.Restore(ctx, rec, &dirstorage.BlobSource{Reader: f})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("blob %s: %w", path.Base(name), err)
	}
	return nil
}

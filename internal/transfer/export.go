package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// ExportOptions of [Export].
type ExportOptions struct {
	// To is the last transaction to export; 0 = all.
	To zodb.TID
	// Blobs is the root of an empty directory for blobs; nil = there is none, and
	// the first blob is an error that matches ErrBlob, unless they are left out.
	// After an error it is empty again.
	Blobs      vfs.FS
	LeaveBlobs bool           // the records of blobs are exported without their content
	Progress   func(Progress) // may be nil; called after each transaction
	// SkipBroken leaves out records and blobs that cannot be read, and lists them. An object then
	// has the revision before, or none. If a transaction itself cannot be read, its revisions are
	// looked for by name and exported as those of a packed transaction.
	SkipBroken bool
}

// Broken is a part of the database that an export left out.
type Broken struct {
	TID         zodb.TID `json:"tid"`
	OID         zodb.OID `json:"oid"`
	Blob        bool     `json:"blob,omitempty"`        // its blob only
	Transaction bool     `json:"transaction,omitempty"` // its user, time and description are lost, and maybe some of its revisions
	Link        bool     `json:"link,omitempty"`        // nothing of it; it does not lead to the one before
	Reason      string   `json:"reason"`
}

// Exported counts the work of an export.
type Exported struct {
	Transactions int64 `json:"transactions"`
	// PackedAway is how many of them were made up, because revisions are there
	// whose transaction was packed away.
	PackedAway int64    `json:"packed_away"`
	Records    int64    `json:"records"`
	Bytes      int64    `json:"bytes"` // of records and blobs
	Blobs      int64    `json:"blobs"`
	LeftOut    int64    `json:"blobs_left_out"`
	LastTID    zodb.TID `json:"last_tid"`
	Broken     int64    `json:"broken"`                // left out because they cannot be read
	BrokenList []Broken `json:"broken_list,omitempty"` // the first of it
}

// Export writes a storage as a Data.fs that ZODB's FileStorage reads; the
// caller closes the writer. Revisions whose transaction was packed away, and
// all objects of class Minimal, come in transactions without user and with the
// description “packed away”.
func Export(ctx context.Context, s zodb.Storage, w *filestorage.Writer, o ExportOptions) (Exported, error) {
	ex := exporter{s: s, w: w, o: o}
	ex.walk = walk{s: s, to: o.To}
	if o.SkipBroken {
		ex.walk.skip = ex.skip
	}
	err := ex.run(ctx)
	return ex.result, err
}

type exporter struct {
	s      zodb.Storage
	w      *filestorage.Writer
	o      ExportOptions
	walk   walk
	total  int64
	result Exported
}

func (ex *exporter) run(ctx context.Context) error {
	if ex.o.Blobs == nil {
		return ex.exportAll(ctx)
	}
	if err := prepareBlobs(ex.o.Blobs); err != nil {
		return err
	}
	err := ex.exportAll(ctx)
	if err != nil {
		err = errors.Join(err, empty(ex.o.Blobs))
	}
	return err
}

// empty removes the contents of a directory.
func empty(dir vfs.FS) error {
	var names []string
	for e, err := range dir.List(".") {
		if err != nil {
			return err
		}
		names = append(names, e.Name)
	}
	for _, name := range names {
		if err := vfs.RemoveAll(dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (ex *exporter) exportAll(ctx context.Context) error {
	if n := ex.s.Counts(); n.Exact {
		ex.total = n.Transactions
	}
	for txn, err := range ex.walk.transactions(ctx) {
		if err != nil {
			return err
		}
		if err := ex.export(ctx, txn); err != nil {
			return err
		}
	}
	ex.result.PackedAway = ex.walk.packedAway
	return nil
}

// records yields the records of a transaction that are to be exported.
func (ex *exporter) records(ctx context.Context, txn *zodb.Transaction) iter.Seq2[zodb.Record, error] {
	if !ex.o.SkipBroken {
		return ex.s.Records(ctx, txn)
	}
	return func(yield func(zodb.Record, error) bool) {
		one := *txn
		for i, oid := range txn.OIDs { // an iteration ends with its first error
			one.OIDs = txn.OIDs[i : i+1]
			for rec, err := range ex.s.Records(ctx, &one) {
				if err != nil && ex.skip(ctx, Broken{TID: txn.TID, OID: oid}, err) {
					continue
				}
				if !yield(rec, err) || err != nil {
					return
				}
			}
		}
	}
}

// skip notes an unreadable part, and reports whether to go on.
func (ex *exporter) skip(ctx context.Context, b Broken, err error) bool {
	damage := errors.Is(err, zodb.ErrCorrupt) || errors.Is(err, zodb.ErrNotFound)
	if !ex.o.SkipBroken || ctx.Err() != nil || errors.Is(err, zodb.ErrClosed) || vfs.Passes(err) || b.Blob && !damage {
		return false // an error that passes is not damage; one of a blob may come from its destination
	}
	b.Reason = err.Error()
	if ex.result.Broken++; ex.result.Broken <= maxSkipped {
		ex.result.BrokenList = append(ex.result.BrokenList, b)
	}
	return true
}

func (ex *exporter) export(ctx context.Context, txn *zodb.Transaction) error {
	var blobs []zodb.OID
	records := func(yield func(zodb.Record, error) bool) {
		for rec, err := range ex.records(ctx, txn) {
			if len(rec.Data) == 0 { // also in class Minimal, where the storage gives no meaning to it
				rec.Exists, rec.Data = false, nil
			}
			ex.result.Records++
			ex.result.Bytes += int64(len(rec.Data))
			if rec.HasBlob {
				blobs = append(blobs, rec.OID)
			}
			if !yield(rec, err) {
				return
			}
		}
	}
	if err := ex.w.Append(txn, records); err != nil {
		return fmt.Errorf("transaction %s: %w", txn.TID, err)
	}
	for _, oid := range blobs {
		if err := ex.exportBlob(ctx, oid, txn.TID); err != nil && !ex.skip(ctx, Broken{TID: txn.TID, OID: oid, Blob: true}, err) {
			return fmt.Errorf("transaction %s: object %s: %w", txn.TID, oid, err)
		}
	}
	ex.result.Transactions++
	ex.result.LastTID = txn.TID
	if ex.o.Progress != nil {
		ex.o.Progress(Progress{Transactions: ex.result.Transactions, Records: ex.result.Records, Done: ex.result.Transactions, Total: ex.total})
	}
	return nil
}

// prepareBlobs makes an empty directory one that ZODB takes for a blob directory.
func prepareBlobs(dir vfs.FS) error {
	for e, err := range dir.List(".") {
		if err != nil {
			return err
		}
		return fmt.Errorf("the blob directory %s is not empty: it holds %s", dir.Path("."), e.Name)
	}
	if err := vfs.WriteFileAtomic(dir, ".layout.new", ".layout", []byte(filestorage.BlobBushy), vfs.SyncOptions{File: true, Dir: true}); err != nil {
		return err
	}
	return dir.Mkdir("tmp")
}

// exportBlob copies one blob and makes it durable.
func (ex *exporter) exportBlob(ctx context.Context, oid zodb.OID, tid zodb.TID) (err error) {
	if ex.o.LeaveBlobs {
		ex.result.LeftOut++
		return nil
	}
	if ex.o.Blobs == nil {
		return fmt.Errorf("there is a %w, and no blob directory is given", ErrBlob)
	}
	src, err := ex.s.OpenBlob(ctx, oid, tid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	name := filestorage.BlobBushy.Path(oid, tid)
	made, err := vfs.MkdirAll(ex.o.Blobs, path.Dir(name))
	if err != nil {
		return err
	}
	f, err := ex.o.Blobs.Create(name)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, src)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, ex.o.Blobs.Remove(name))
	}
	for _, dir := range append(made, name) {
		if err := ex.o.Blobs.SyncDir(path.Dir(dir)); err != nil {
			return err
		}
	}
	ex.result.Blobs++
	ex.result.Bytes += n
	return nil
}

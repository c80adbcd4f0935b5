package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"

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
	err := ex.run(ctx)
	return ex.result, err
}

type exporter struct {
	s     zodb.Storage
	w     *filestorage.Writer
	o     ExportOptions
	total int64
	// damaged are the transactions that cannot be read. Revisions of them are found by name.
	damaged map[zodb.TID]bool
	result  Exported
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
	unlisted, err := ex.unlisted(ctx)
	if err != nil {
		return err
	}
	if n := ex.s.Counts(); n.Exact {
		ex.total = n.Transactions
	}
	for txn, err := range ex.listed(ctx) {
		if txn != nil && err != nil && ex.skip(ctx, brokenTransaction(txn.TID, err), err) {
			continue
		}
		if err != nil {
			return err
		}
		for len(unlisted) > 0 && unlisted[0].tid < txn.TID {
			if unlisted, err = ex.exportUnlisted(ctx, unlisted); err != nil {
				return err
			}
		}
		if err := ex.export(ctx, txn); err != nil {
			return err
		}
	}
	for len(unlisted) > 0 {
		if unlisted, err = ex.exportUnlisted(ctx, unlisted); err != nil {
			return err
		}
	}
	return nil
}

// listed yields the transactions of the storage; none for class Minimal.
func (ex *exporter) listed(ctx context.Context) iter.Seq2[*zodb.Transaction, error] {
	if ex.s.Status().Class == zodb.ClassMinimal {
		return func(func(*zodb.Transaction, error) bool) {}
	}
	return ex.s.Transactions(ctx, 0, ex.o.To)
}

// revision is one that no transaction lists.
type revision struct {
	tid zodb.TID
	oid zodb.OID
}

func brokenTransaction(tid zodb.TID, err error) Broken {
	link := errors.Is(err, zodb.ErrBrokenLink)
	return Broken{TID: tid, Transaction: !link, Link: link}
}

// unlisted returns the revisions up to To whose transaction was packed away, or cannot be
// read, by tid and oid. It costs a look at every object where there may be such.
func (ex *exporter) unlisted(ctx context.Context) ([]revision, error) {
	st := ex.s.Status()
	minimal := st.Class == zodb.ClassMinimal
	if !minimal && st.Packed == 0 && !ex.o.SkipBroken {
		return nil, nil
	}
	listed := make(map[zodb.TID]bool)
	ex.damaged = make(map[zodb.TID]bool)
	for txn, err := range ex.listed(ctx) {
		switch {
		case err != nil && (txn == nil || !ex.o.SkipBroken):
			return nil, err
		case err != nil && !errors.Is(err, zodb.ErrBrokenLink):
			ex.damaged[txn.TID] = true
		case err == nil && txn.TID <= st.Packed:
			listed[txn.TID] = true
		}
		if txn.TID > st.Packed && !ex.o.SkipBroken {
			break
		}
	}
	if !minimal && st.Packed == 0 && len(ex.damaged) == 0 {
		return nil, nil
	}
	var found []revision
	for oid, err := range ex.s.OIDs(ctx) {
		if err != nil {
			return nil, err
		}
		for serial, err := range ex.s.Serials(ctx, oid) {
			if err != nil && (serial == 0 || !ex.o.SkipBroken || ctx.Err() != nil) {
				return nil, err // else it is told when the record is read
			}
			if (minimal || serial <= st.Packed || ex.damaged[serial]) && !listed[serial] && (ex.o.To == 0 || serial <= ex.o.To) {
				found = append(found, revision{serial, oid})
			}
		}
	}
	slices.SortFunc(found, func(a, b revision) int {
		return cmp.Or(cmp.Compare(a.tid, b.tid), cmp.Compare(a.oid, b.oid))
	})
	return slices.Compact(found), nil
}

// exportUnlisted exports the revisions of the first tid and returns the others.
func (ex *exporter) exportUnlisted(ctx context.Context, list []revision) ([]revision, error) {
	txn := &zodb.Transaction{TID: list[0].tid, Status: 'p', TxnMeta: zodb.TxnMeta{Description: []byte("packed away")}}
	for len(list) > 0 && list[0].tid == txn.TID {
		txn.OIDs = append(txn.OIDs, list[0].oid)
		list = list[1:]
	}
	if ex.damaged[txn.TID] {
		txn.Description = []byte("this transaction was damaged, and these are the revisions of it that were found")
	} else {
		ex.result.PackedAway++
	}
	return list, ex.export(ctx, txn)
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
		return fmt.Errorf("object %s has a %w, and no blob directory is given", oid, ErrBlob)
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

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// loadedBlob begins the names of blobs on their way into A. An open removes leftover ones,
// as other files that are staged.
const loadedBlob = home.JournalDir + "/blob-loaded-"

// loadTxn is a transaction of a Loader. It has its records in memory, as files.
type loadTxn struct {
	zodb.Txn // nil: for methods that are never called

	l       *Loader
	meta    zodb.TxnMeta
	tid     zodb.TID
	packed  bool
	records []loadedRecord
	places  map[zodb.OID]int // in records
	buf     []byte
	blobs   []string // staged
	highest zodb.OID
}

type loadedRecord struct {
	oid      zodb.OID
	first    bool
	from, to int // of buf
	blob     string
	blobSize int64
}

var _ store.Transaction = (*loadTxn)(nil)

// Restore implements [zodb.TxnBlobs].
func (t *loadTxn) Restore(_ context.Context, rec zodb.Record, blob *zodb.BlobSource) error {
	o := record.Object{OID: rec.OID, Serial: t.tid}
	if rec.Exists {
		o.Data = rec.Data
	}
	if len(t.buf)+len(o.Data) > loadedSize() || blob != nil && blob.Reader == nil {
		return notLoaded("transaction %s is large", t.tid)
	}
	var err error
	if o.Previous, err = t.l.serial(rec.OID); err != nil {
		return err
	}
	if rec.Exists && rec.DataTID != 0 {
		same, err := t.l.sameData(rec)
		if err != nil {
			return fmt.Errorf("restore object %s: %w", rec.OID, err)
		}
		if same {
			o.UndoFrom = rec.DataTID
		}
	}
	r := loadedRecord{oid: rec.OID, first: o.Previous == 0, from: len(t.buf)}
	if blob != nil {
		if o.BlobSum, err = t.stage(&r, blob.Reader); err != nil {
			return err
		}
	}
	if t.buf, err = o.Append(t.buf, t.l.home.SumKind(t.l.store)); err != nil {
		return err
	}
	r.to = len(t.buf)
	t.highest = max(t.highest, rec.OID)
	if i, ok := t.places[rec.OID]; ok {
		t.records[i] = r
		return nil
	}
	t.places[rec.OID] = len(t.records)
	t.records = append(t.records, r)
	return nil
}

// stage copies a blob into journal/, durably.
func (t *loadTxn) stage(r *loadedRecord, content io.Reader) (sum record.BlobSum, err error) {
	l := t.l
	l.staged++
	r.blob = fmt.Sprint(loadedBlob, l.staged)
	f, err := l.home.FS.Create(r.blob)
	if err != nil {
		return sum, err
	}
	t.blobs = append(t.blobs, r.blob)
	hash := record.NewBlobHash()
	r.blobSize, err = io.Copy(io.MultiWriter(f, hash), content)
	if err == nil && l.home.Settings.Filesystem.Sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = l.home.FS.SetReadOnly(r.blob)
	}
	return hash.BlobSum(), err
}

// sameData reports whether the revision that an undo copied is here and holds that data.
func (l *Loader) sameData(rec zodb.Record) (bool, error) {
	if rec.DataTID > l.durable {
		if l.err = l.end(); l.err != nil {
			return false, l.err
		}
	}
	b, place, err := l.store.Get(layout.Revision(rec.OID, rec.DataTID))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	o, err := record.ParseObjectAs(b, place, rec.OID, rec.DataTID, true)
	return err == nil && string(o.Data) == string(rec.Data), err
}

// Vote implements [zodb.TxnEnd]: there is nothing to compare with. After the end of ctx it may not
// be the whole transaction.
func (t *loadTxn) Vote(ctx context.Context) error { return ctx.Err() }

// Finish implements [zodb.TxnEnd]. It is durable when the Loader is closed, or before.
func (t *loadTxn) Finish(context.Context, func(zodb.TID)) (zodb.TID, error) {
	l := t.l
	l.highest = max(l.highest, t.highest)
	if l.err = l.add(t); l.err != nil {
		return 0, l.err
	}
	if cap(t.buf) > cap(l.buf) {
		l.buf = t.buf
	}
	t.blobs = nil
	return t.tid, nil
}

// Abort implements [zodb.TxnEnd].
func (t *loadTxn) Abort() error {
	var errs []error
	for _, name := range t.blobs {
		if err := t.l.home.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	t.blobs = nil
	return errors.Join(errs...)
}

// counts returns the growth by the transaction.
func (t *loadTxn) counts() (n zodb.Counts) {
	for i := range t.records {
		r := &t.records[i]
		if r.first {
			n.Objects++
		}
		n.Bytes += int64(r.to-r.from) + r.blobSize
		n.BlobBytes += r.blobSize
	}
	n.Revisions, n.Transactions = int64(len(t.records)), 1
	n.Bytes += int64(record.TransactionHeaderSize + len(t.meta.User) + len(t.meta.Description) + len(t.meta.Extension) + 8*len(t.records))
	return n
}

// TID implements [store.Transaction].
func (t *loadTxn) TID() zodb.TID { return t.tid }

// HighestOID implements [store.Transaction].
func (t *loadTxn) HighestOID() zodb.OID { return t.l.highest }

// Len implements [store.Transaction].
func (t *loadTxn) Len() int { return len(t.records) }

// Revision implements [store.Transaction].
func (t *loadTxn) Revision(i int) store.Revision {
	r := &t.records[i]
	return store.Revision{OID: r.oid, First: r.first, Blob: r.blob, BlobSize: r.blobSize}
}

// AppendRevision implements [store.Transaction].
func (t *loadTxn) AppendRevision(dst []byte, i int) ([]byte, error) {
	return append(dst, t.buf[t.records[i].from:t.records[i].to]...), nil
}

// AppendTransaction implements [store.Transaction].
func (t *loadTxn) AppendTransaction(dst []byte) ([]byte, error) {
	r := record.Transaction{TID: t.tid, Previous: t.l.last, Packed: t.packed,
		User: t.meta.User, Description: t.meta.Description, Extension: t.meta.Extension, OIDs: t.oidsOf()}
	return r.Append(dst, t.l.home.SumKind(t.l.store))
}

package transfer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// Source is a database that is read as an import reads it, without a storage to copy it into. It is
// for one goroutine.
type Source struct{ src source }

// SourceTxn is a transaction of a [Source]. Its records are read before the next transaction is
// asked for, or not at all.
type SourceTxn struct {
	zodb.Transaction
	Records iter.Seq2[zodb.Record, error]
}

// FileSource is a Data.fs and its blob directory; nil = it has none.
func FileSource(r *filestorage.Reader, blobs vfs.FS) *Source {
	return &Source{&dataFS{r: r, blobs: blobs}}
}

// ServerSource is a storage on a server. skip is asked about each transaction that cannot be read.
func ServerSource(c *zeoclient.Client, skip func(error) bool) *Source {
	return &Source{&server{c: c, skip: skip}}
}

// StorageSource is a storage, up to its last transaction now.
func StorageSource(s zodb.Storage) *Source {
	return &Source{&otherStorage{s: s, to: s.LastTransaction()}}
}

// Begin is called once, before anything is read.
func (s *Source) Begin(ctx context.Context) error { return s.src.begin(ctx, true) }

// Progress tells how far the latest iteration has come, as [Progress] has it.
func (s *Source) Progress() (done, total int64) { return s.src.progress() }

// Transactions yields all transactions, in the order of their tids.
func (s *Source) Transactions(ctx context.Context) iter.Seq2[*SourceTxn, error] {
	return func(yield func(*SourceTxn, error) bool) {
		if v, ok := s.src.(*server); ok {
			v.read = 0 // of an earlier iteration
		}
		for txn, err := range s.src.transactions(ctx, 0) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&SourceTxn{txn.Transaction, txn.records}, nil) {
				return
			}
		}
	}
}

// HasBlob reports whether a blob belongs to a record.
func (s *Source) HasBlob(rec zodb.Record) bool { return rec.Exists && s.src.hasBlob(rec) }

// ErrNoBlobDir: a Data.fs has a record of a blob, and no blob directory was given.
var ErrNoBlobDir = fmt.Errorf("%w: no blob directory is given", ErrBlob)

// ErrUnknownSize: only the whole blob tells its size.
var ErrUnknownSize = errors.New("the size of a blob is not known before it is read")

// BlobSize returns the size of the blob that belongs to a record. A blob that cannot be had is an
// error that matches ErrBlob, and ErrUnknownSize is that of a server. It is called before the next
// record is read.
func (s *Source) BlobSize(ctx context.Context, rec zodb.Record) (int64, error) {
	switch src := s.src.(type) {
	case *dataFS:
		return src.blobSize(rec)
	case *otherStorage:
		b, err := src.s.OpenBlob(ctx, rec.OID, rec.TID)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrBlob, err)
		}
		return b.Size(), b.Close()
	}
	return 0, ErrUnknownSize
}

// blobSize looks whether the file can be read.
func (d *dataFS) blobSize(rec zodb.Record) (int64, error) {
	if d.blobs == nil {
		return 0, ErrNoBlobDir
	}
	name := d.layout.Path(rec.OID, d.fileTID)
	f, err := d.blobs.Open(name)
	if err == nil {
		err = f.Close()
	}
	var info vfs.Info
	if err == nil {
		info, err = d.blobs.Stat(name)
	}
	if err == nil && !info.Mode.IsRegular() {
		err = fmt.Errorf("%s is not an ordinary file", d.blobs.Path(name))
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBlob, err)
	}
	return info.Size, nil
}

// References notes the references of the records of a [Source].
type References struct {
	refs *references
	gone map[zodb.OID]bool // deleted, and not stored again
}

// NewReferences returns one that has met no record.
func NewReferences() *References {
	return &References{refs: newReferences(), gone: make(map[zodb.OID]bool)}
}

// Note is called with each record, in the order of the transactions.
func (r *References) Note(rec zodb.Record) {
	if !rec.Exists {
		r.gone[rec.OID] = true
		return
	}
	delete(r.gone, rec.OID)
	r.refs.note(rec)
}

// Exists reports whether an object exists after the records so far.
func (r *References) Exists(oid zodb.OID) bool { return r.refs.stored.Has(oid) && !r.gone[oid] }

// Dangling counts the references of current revisions to objects that do not exist, and lists the
// first. It reads the source again if there may be any.
func (s *Source) Dangling(ctx context.Context, r *References) (count int64, list []Dangling, err error) {
	missing, some := oidset.New(refMemory()), false
	for oid := range r.refs.targets.Without(r.refs.stored) {
		missing.Add(oid)
		some = true
	}
	for oid := range r.gone {
		if r.refs.targets.Has(oid) {
			missing.Add(oid)
			some = true
		}
	}
	if !some {
		return 0, nil, nil
	}
	found := make(map[zodb.OID]*importer) // by the referring object
	for txn, err := range s.Transactions(ctx) {
		if err != nil {
			return 0, nil, err
		}
		for rec, err := range txn.Records {
			if err != nil {
				continue // it was counted as damage
			}
			delete(found, rec.OID)
			if !rec.Exists {
				continue
			}
			im := &importer{refs: r.refs}
			if im.danglingOf(rec.OID, rec.Data, missing); im.result.Dangling > 0 {
				found[rec.OID] = im
			}
		}
	}
	for _, oid := range slices.Sorted(maps.Keys(found)) {
		count += found[oid].result.Dangling
		list = append(list, found[oid].result.DanglingList...)
	}
	return count, list[:min(len(list), maxDangling)], nil
}

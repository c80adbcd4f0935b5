package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Errors of an import, for errors.Is.
var (
	// ErrOther: the storage holds transactions that are not those of the source.
	ErrOther = errors.New("the storage is not a copy")
	// ErrOrder: the tids of the source do not grow, or are none that a transaction can have.
	ErrOrder = errors.New("there are tids that cannot be kept")
	// ErrBlob: a record needs a blob that cannot be had.
	ErrBlob = errors.New("blob")
)

// BlobPolicy says how an import treats blobs.
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
	// Salvage: damage is passed over, and sound transactions behind it are taken.
	Salvage bool
	// Renumber: transactions whose tids do not grow get other ones.
	Renumber bool
	// Load, if not nil, brings transactions into the storage as long as it can. With a Loader in it
	// the Target is nil.
	Load *Load
}

// Imported counts the work of an import; complete also when it ended with an error.
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
	Renumbered   int64                   `json:"renumbered"`              // transactions that got other tids
	Damaged      int64                   `json:"damaged"`                 // parts that were passed over, or taken with a wrong length
	Skipped      []filestorage.Skipped   `json:"skipped,omitempty"`       // the first of them
	Dangling     int64                   `json:"dangling"`                // references to objects that do not exist
	DanglingList []Dangling              `json:"dangling_list,omitempty"` // the first of them
	// Of a copy of a server: objects whose current revisions were compared with those of the server, and those of them,
	// and of the server's others, that differ.
	Compared      int64       `json:"compared,omitempty"`
	Differing     int64       `json:"differing,omitempty"`
	DifferingList []Differing `json:"differing_list,omitempty"` // the first of them
}

// maxSkipped is how many parts that were passed over are listed.
const maxSkipped = 1000

// Target is a storage that transactions of another one are copied into.
type Target interface {
	zodb.Storage
	// Serial returns the serial of the newest revision of an object, also of one that is deleted; 0 if there is none.
	Serial(ctx context.Context, oid zodb.OID) (zodb.TID, error)
	// DiffersFromSource notes, durably, that it will not be as its source: a transaction
	// gets another tid, or lacks something.
	DiffersFromSource() error
}

// Import brings the transactions of a Data.fs that the storage does not have
// yet into it. A storage that is not empty must end with a transaction that the
// file holds too, with the same content; else the error matches ErrOther and
// nothing is changed. Each transaction is durable when the progress tells of
// it, but for those of a Loader. When ctx ends, it stops between two transactions.
//
// The error matches zodb.ErrCorrupt where the file is damaged, and ErrOrder.
func Import(ctx context.Context, s Target, r *filestorage.Reader, o ImportOptions) (Imported, error) {
	im := newImporter(s, &dataFS{r: r, blobs: o.Blobs}, o.Policy, o.Progress)
	im.load = o.Load
	r.Renumber = o.Renumber
	if o.Salvage {
		seen := make(map[int64]bool)
		r.Salvage = func(p filestorage.Skipped) {
			if seen[p.Offset] {
				return
			}
			seen[p.Offset] = true
			im.skipped(p)
		}
	}
	err := im.run(ctx)
	if err == nil {
		err = im.dangling(ctx)
	}
	im.result.Truncated, im.result.Warnings, im.result.Renumbered = r.Truncated(), r.Warnings(), r.Renumbered()
	return im.result, err
}

// source is where transactions are copied from.
type source interface {
	// name completes “a copy of”.
	name() string
	// begin is called once, before anything is read. withBlobs tells that blobs will be asked for.
	begin(ctx context.Context, withBlobs bool) error
	// transactions yields those with a tid not less than from, in their order. The
	// records of one are read before the next is asked for, or not at all.
	transactions(ctx context.Context, from zodb.TID) iter.Seq2[*sourceTxn, error]
	// hasBlob reports whether a blob belongs to a record that has data.
	hasBlob(rec zodb.Record) bool
	// openBlob returns the content of the blob that belongs to a record. If there is none the
	// error is a *missingBlobError. Reading it need not be possible after the next record.
	openBlob(ctx context.Context, rec zodb.Record) (io.ReadCloser, error)
	// progress tells how far it has come, see [Progress].
	progress() (done, total int64)
}

// sourceTxn is one transaction of a source. Previous and OIDs are not filled
// in. If an oid comes more than once in the records, the last one counts.
type sourceTxn struct {
	zodb.Transaction
	records    iter.Seq2[zodb.Record, error]
	renumbered bool // it has another tid in the source
}

// otherError names the point in which a storage differs from a copy.
type otherError struct{ source, what string }

func (e *otherError) Error() string { return ErrOther.Error() + " of " + e.source + ": " + e.what }

// Is matches ErrOther.
func (e *otherError) Is(target error) bool { return target == ErrOther }

// missingBlobError tells that a source lacks a blob.
type missingBlobError struct {
	oid   zodb.OID
	where string
}

func (e *missingBlobError) Error() string {
	return fmt.Sprintf("%v: that of object %s is missing: %s", ErrBlob, e.oid, e.where)
}

// Is matches ErrBlob.
func (e *missingBlobError) Is(target error) bool { return target == ErrBlob }

// importer copies the transactions that a storage does not have yet from a source.
type importer struct {
	s        Target
	src      source
	policy   BlobPolicy
	progress func(Progress)
	load     *Load  // nil: everything goes into s
	loader   Loader // takes the transactions now; nil: s does
	salvage  bool   // records that the source cannot read are passed over
	differs  bool   // something is not as the source has it
	refs     *references
	result   Imported
}

func newImporter(s Target, src source, policy BlobPolicy, progress func(Progress)) *importer {
	im := &importer{s: s, src: src, policy: policy, progress: progress, refs: newReferences()}
	if s != nil {
		im.result.Before = s.LastTransaction()
		im.result.LastTID = im.result.Before
	}
	return im
}

func (im *importer) run(ctx context.Context) error {
	return im.loading(im.src.begin(ctx, im.policy != BlobsNone), func() error { return im.copyNew(ctx) })
}

// copyNew copies the transactions behind the last one, which has to be a common one.
func (im *importer) copyNew(ctx context.Context) error {
	last := im.result.LastTID
	if last == 0 {
		return im.copyFrom(ctx, 0)
	}
	// The last common one is read again.
	return im.copyFrom(ctx, last, func(txn *sourceTxn) error {
		if txn.TID != last {
			return im.lacks(ctx, last)
		}
		return im.compareLast(ctx, txn)
	})
}

func (im *importer) lacks(ctx context.Context, last zodb.TID) error {
	if txn, err := im.s.Transaction(ctx, last); err == nil && histfile.IsBeginning(txn) {
		return &otherError{im.src.name(), fmt.Sprintf("it was served, or opened for writing, after the last import, and has a history of its own since transaction %s", last)}
	}
	return &otherError{im.src.name(), fmt.Sprintf("its last transaction %s is not there, or not any more after a pack", last)}
}

// runFrom is run for a storage of which the last transaction need not be compared.
func (im *importer) runFrom(ctx context.Context, from zodb.TID) error {
	first := true
	return im.loading(im.src.begin(ctx, im.policy != BlobsNone), func() error {
		if !first {
			from = im.result.LastTID + 1
		}
		first = false
		return im.copyFrom(ctx, from)
	})
}

// copyFrom copies the transactions from one on; if there is a compare, the first of
// them must be there, is given to it, and is not copied.
func (im *importer) copyFrom(ctx context.Context, from zodb.TID, compare ...func(*sourceTxn) error) error {
	for txn, err := range im.src.transactions(ctx, from) {
		switch {
		case err != nil:
		case len(compare) > 0:
			err, compare = compare[0](txn), nil
		default:
			err = im.copyTransaction(ctx, txn)
		}
		if err != nil {
			return err
		}
		if im.progress != nil {
			done, total := im.src.progress()
			im.progress(Progress{Transactions: im.result.Transactions, Records: im.result.Records, Done: done, Total: total})
		}
	}
	if len(compare) > 0 {
		return im.lacks(ctx, from)
	}
	return nil
}

// compareLast makes sure that the last transaction of the storage is the one of
// the source that has the same tid.
func (im *importer) compareLast(ctx context.Context, want *sourceTxn) error {
	differs := func(what string) error {
		return &otherError{im.src.name(), fmt.Sprintf("transaction %s has other %s there", want.TID, what)}
	}
	have, err := im.s.Transaction(ctx, want.TID)
	switch {
	case errors.Is(err, zodb.ErrUnsupported), errors.Is(err, zodb.ErrNotFound):
		have = nil // class Minimal, or packed away: the records have to do
	case err != nil:
		return err
	case !bytes.Equal(have.User, want.User) || !bytes.Equal(have.Description, want.Description) || !sameExtension(have.Extension, want.Extension):
		return differs("texts")
	}
	same := make(map[zodb.OID]bool)
	for rec, err := range want.records {
		if err != nil {
			return err
		}
		got, err := im.s.LoadRecord(ctx, rec.OID, rec.TID)
		if errors.Is(err, zodb.ErrNotFound) {
			return differs("objects")
		}
		if err != nil {
			return err
		}
		same[rec.OID] = got.Exists == rec.Exists && bytes.Equal(got.Data, rec.Data)
	}
	for oid, ok := range same {
		if !ok {
			return differs("data of object " + oid.String())
		}
	}
	if have != nil && len(same) != len(have.OIDs) {
		return differs("objects")
	}
	return nil
}

func (im *importer) copyTransaction(ctx context.Context, txn *sourceTxn) (err error) {
	if err := im.turn(); err != nil {
		return err
	}
	begin := im.begin()
	out, err := begin(ctx, txn.TxnMeta, zodb.BeginOptions{TID: txn.TID, Status: txn.Status})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Abort()) }()
	var n Imported
	for rec, err := range txn.records {
		if im.skips(txn.TID, err) {
			continue
		}
		if err == nil {
			err = im.copyRecord(ctx, out, rec, &n)
		}
		if err != nil {
			return fmt.Errorf("transaction %s: %w", txn.TID, err)
		}
	}
	if im.differs || txn.renumbered {
		if im.loader != nil {
			return fmt.Errorf("%w: it is not as in the source", errors.ErrUnsupported)
		}
		if err := im.s.DiffersFromSource(); err != nil {
			return err
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

func (im *importer) copyRecord(ctx context.Context, out zodb.Txn, rec zodb.Record, n *Imported) error {
	n.Records++
	n.Bytes += int64(len(rec.Data))
	im.refs.note(rec)
	if im.policy == BlobsNone || !rec.Exists || !im.src.hasBlob(rec) {
		return out.Restore(ctx, rec, nil)
	}
	blob, err := im.src.openBlob(ctx, rec)
	if _, missing := errors.AsType[*missingBlobError](err); missing && im.policy == BlobsSkipMissing {
		n.MissingBlobs++
		return out.Restore(ctx, rec, nil)
	}
	if err != nil {
		return err
	}
	counted := &counter{r: blob}
	err = out.Restore(ctx, rec, &zodb.BlobSource{Reader: counted})
	if err = errors.Join(err, blob.Close()); err != nil {
		return fmt.Errorf("blob of object %s: %w", rec.OID, err)
	}
	n.Blobs++
	n.Bytes += counted.n
	return nil
}

// counter counts the bytes read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

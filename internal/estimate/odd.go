package estimate

import (
	"errors"
	"io/fs"
	"time"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// Oddity is something unusual in a source.
type Oddity struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count"`
	// Stops says that an import ends there, unless an option tells it to go on.
	Stops  bool   `json:"stops"`
	Detail string `json:"detail"`
}

// The kinds of oddities.
const (
	KindDangling       = "dangling-reference"
	kindMissingRoot    = "missing-root"
	kindFuture         = "future-transaction"
	KindOrder          = "tid-order"
	KindPython2File    = "python2-file"
	kindPython2Record  = "python2-record"
	KindMissingBlob    = "missing-blob"
	kindUnreadableBlob = "unreadable-blob"
	KindNoBlobs        = "no-blob-directory"
	KindUnusedBlob     = "unused-blob"
	kindDeleted        = "deleted-object"
	kindUndo           = "undo"
	kindPacked         = "packed-transaction"
	KindTornEnd        = "torn-end"
	KindDamage         = "damage"
)

// farFuture is how much later than now a transaction may be before that is worth a word.
const farFuture = 24 * time.Hour

// findings counts oddities while a source is read.
type findings struct {
	dangling        int64
	missingRoot     bool
	future          int64
	now             time.Time
	python2         int64
	missingBlobs    int64
	unreadableBlobs int64
	blobError       string
	noBlobs         int64
	deleted, undone int64
	packed          int64
	damaged         int64
	damage          string
}

func (f *findings) record(rec zodb.Record) {
	switch {
	case !rec.Exists:
		f.deleted++
	case rec.DataTID != 0:
		f.undone++
	case python2(rec):
		f.python2++
	}
}

func (f *findings) transaction(txn *transfer.SourceTxn) {
	if txn.Status == zodb.StatusPacked {
		f.packed++
	}
	if txn.TID.Time().After(f.now.Add(farFuture)) {
		f.future++
	}
}

// unreadable notes a record that cannot be read, and reports whether the source goes on behind it.
func (f *findings) unreadable(err error) bool {
	_, server := errors.AsType[*zeoclient.ServerError](err)
	if !server && !errors.Is(err, zodb.ErrCorrupt) && !errors.Is(err, zodb.ErrNotFound) && !errors.Is(err, transfer.ErrDamagedRecord) {
		return false
	}
	f.damaged++
	if f.damage == "" {
		f.damage = err.Error()
	}
	return true
}

func (f *findings) blob(err error) {
	switch {
	case errors.Is(err, transfer.ErrNoBlobDir):
		f.noBlobs++
		return
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, zodb.ErrNotFound):
		f.missingBlobs++
	default:
		f.unreadableBlobs++
	}
	if f.blobError == "" {
		f.blobError = err.Error()
	}
}

// list returns the oddities, the most serious first.
func (f *findings) list() (list []Oddity) {
	add := func(kind string, count int64, stops bool, detail string) {
		if count > 0 {
			list = append(list, Oddity{Kind: kind, Count: count, Stops: stops, Detail: detail})
		}
	}
	add(KindDamage, f.damaged, true, "unreadable records, the first: "+f.damage+"; --salvage passes over them")
	add(KindNoBlobs, f.noBlobs, true, "records of blobs, and no blob directory; give --blobs DIR, or --no-blobs")
	add(KindMissingBlob, f.missingBlobs, true, "missing blobs, the first: "+f.blobError+"; --missing-blobs=skip imports their records without content")
	add(kindUnreadableBlob, f.unreadableBlobs, true, "blobs that cannot be read: "+f.blobError)
	if f.missingRoot {
		add(kindMissingRoot, 1, false, "there is no root object (oid 0): no client can open the database, and a pack removes nothing")
	}
	add(kindFuture, f.future, false, "transactions later than the clock; all that follow will be, too")
	add(KindDangling, f.dangling, false, "references to objects that do not exist; following one raises a POSKeyError, as in the source")
	add(kindPython2Record, f.python2, false, "records pickled by Python 2: they are for clients of Python 2, or have to be converted (zodbupdate)")
	add(kindDeleted, f.deleted, false, "revisions that say that their object does not exist: undone creations, deletions")
	add(kindUndo, f.undone, false, "revisions that an undo made of older ones")
	add(kindPacked, f.packed, false, "transactions that were packed: nobody can undo them")
	return list
}

// python2 reports whether a record was pickled by Python 2: Python 3 begins with protocol 3 or more.
func python2(rec zodb.Record) bool {
	const protocol = 0x80
	if len(rec.Data) < 2 || rec.Data[0] == '.' {
		return false // compressed: its references are read, its protocol is not
	}
	if rec.Data[0] == protocol && rec.Data[1] >= 3 {
		return false
	}
	_, _, err := pickle.Class(rec.Data)
	return err == nil
}

package zodb

import (
	"io"
)

// Blob is the content of a blob, open for reading. A snapshot, a later change
// or a pack does not disturb it.
//
// A reader that goes from start to end with Read alone gets the last bytes only if the whole
// content is intact: else *CorruptError in their place, or in place of io.EOF. ReadAt, and Read
// after a Seek to elsewhere, compare nothing.
type Blob interface {
	io.ReadSeekCloser
	io.ReaderAt
	// Size in bytes.
	Size() int64
}

// BlobRevision names the blob of one revision.
type BlobRevision struct {
	OID OID
	TID TID
}

// BlobWriter takes the content of a blob as it comes, before its object is stored: see
// [TxnBlobs]. It is used by one goroutine at a time; memory does not grow with the content.
type BlobWriter interface {
	// Write adds to the blob. After an error nothing more can be written, and the blob
	// cannot be stored. Errors: ErrDiskFull; ErrScarce; ErrState after Close or Abort, or
	// when the transaction has ended.
	io.Writer
	// Size returns how many bytes were written.
	Size() int64
	// Close ends writing. StoreBlob does it too. It does nothing the second time.
	Close() error
	// Abort drops the blob, unless it was stored. It does nothing the second time.
	Abort() error
}

// BlobSource says where the content of a blob comes from: a file, a [BlobWriter] that was written
// to, or a stream.
type BlobSource struct {
	// Path of a file, which is consumed: it is moved into HOME if it lies on the
	// same file system and belongs to the user of this process, else copied and
	// removed. Nobody may write to it any more.
	Path string
	// Staged is a BlobWriter of the same transaction, which is closed by this. It
	// counts if Path is empty.
	Staged BlobWriter
	// Reader is read to its end, if Path is empty and Staged is nil.
	Reader io.Reader
}

// BeginOptions is for copies of another storage.
type BeginOptions struct {
	// TID is the tid that the transaction shall get; 0 = the storage chooses. It
	// must be later than the last transaction at vote, and from then on to the end of this
	// one nothing else is committed.
	TID TID
	// Status as in a Data.fs: StatusPacked is kept, so that nobody undoes a transaction that was
	// packed there. Everything else, also 0, is StatusDone.
	Status byte
	// Mergeable says of which classes, as module.name, the caller merges records when
	// an undo meets a later change; nil: of none. See ConflictsError.
	Mergeable func(class string) bool
}

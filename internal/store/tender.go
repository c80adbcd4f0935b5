package store

import "context"

// Tender tells the cost of flushes, and looks after existing files.
type Tender interface {
	// Cost returns the upper bound of the cost of flushing a transaction. It looks at nothing,
	// and may be called concurrently.
	Cost(o Outline) Cost
	// SyncFound makes durable all that a process before this one may have left in memory. It is
	// called when the lock of HOME is held, before anything that was read is acted on.
	SyncFound() error
	// Tend does one piece of work that makes what is there cheaper, and changes nothing of what is
	// read; more: there may be another one. While B is in use it does nothing. It is called
	// by the goroutine of [Writer]. When ctx ends it stops, and what it has not done is as it was.
	Tend(ctx context.Context) (more bool, err error)
	// Close gives back what the store holds open, when nothing of it is used any more but
	// blobs that were opened. It makes nothing durable.
	Close() error
}

// Outline describes a transaction that is not flushed.
type Outline struct {
	Meta    int // bytes of user, description and extension
	Records int
	// Each yields the records: bytes of data, whether the object is new, and
	// whether it has a blob, which lies on the disk already.
	Each func(yield func(size int64, first, blob bool))
}

// Cost is the cost of flushing a transaction.
type Cost struct {
	// Work is the unit of the flush thresholds of config/settings, of the pace of writers
	// and of the slices of a thaw: in a store of a file for each revision, files.
	Work int
	// Bytes and Inodes are its space on the file system.
	Bytes, Inodes int64
}

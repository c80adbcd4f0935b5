package store

// Tender tells what things cost, and looks after what is there.
type Tender interface {
	// Cost returns what it takes to flush a transaction, at most. It looks at nothing, and may
	// be called concurrently.
	Cost(o Outline) Cost
	// SyncFound makes durable all that a process before this one may have left in memory. It is
	// called when the lock of HOME is held, before anything that was read is acted on.
	SyncFound() error
}

// Outline is what is known of a transaction that is not flushed.
type Outline struct {
	Meta    int // bytes of user, description and extension
	Records int
	// Each yields the records: bytes of data, whether the object is new, and
	// whether it has a blob, which lies on the disk already.
	Each func(yield func(size int64, first, blob bool))
}

// Cost is what it takes to flush a transaction.
type Cost struct {
	// Work is what the flush thresholds of config/settings, the pace of writers and the
	// slices of a thaw count: in a store of a file for each revision, files.
	Work int
	// Bytes and Inodes are what it takes up on the file system.
	Bytes, Inodes int64
}

package store

import "github.com/dirstorage/dirstorage/zodb"

// Loader is for a store that takes transactions which are in no log, as those of a source that can
// be read again, faster than by [Writer].
type Loader interface {
	// BeginLoading begins. A store has no transaction that is not durable, B is empty, and nobody uses
	// [Writer] until the end. After a crash the next open for writing finds those transactions of which
	// Add or End said that they are durable, and no others.
	BeginLoading() (Loading, error)
}

// Loading puts transactions into A. Its methods are called by one goroutine. After an error
// nothing but Close is called.
type Loading interface {
	// HighestOID returns an oid above which there are no objects. It is called before Add.
	HighestOID() zodb.OID
	// Add adds a transaction, later than all others, and reads all of it. durable: all that were
	// added are, and can be read; else that is so at the next time, or after End.
	Add(t Transaction) (durable bool, err error)
	// End makes all added transactions durable.
	End() error
	// Close ends it. Transactions that are not durable are given up.
	Close() error
}

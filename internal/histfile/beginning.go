package histfile

import "github.com/dirstorage/dirstorage/zodb"

// IsBeginning reports whether a transaction is the empty one with which a history
// began, that of this storage or of one that it is a copy of.
func IsBeginning(t *zodb.Transaction) bool {
	return len(t.OIDs) == 0 && string(t.Description) == Begins || IsAnew(t)
}

// IsAnew reports whether a transaction is such one of a storage that differs from
// its source. What was cached of the transactions before it may be of the source, so
// they are no history that a client can name.
func IsAnew(t *zodb.Transaction) bool {
	return len(t.OIDs) == 0 && string(t.Description) == BeginsAnew
}

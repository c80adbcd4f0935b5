package histfile

import "github.com/dirstorage/dirstorage/zodb"

// IsBeginning reports whether a transaction is the empty one with which a history
// began, that of this storage or of one that it is a copy of.
func IsBeginning(t *zodb.Transaction) bool {
	return len(t.OIDs) == 0 && string(t.Description) == Begins || IsAnew(t)
}

// IsAnew reports whether a transaction is such one of a storage that differs from
// its source. Data cached of the transactions before it may be of the source, so a client cannot
// name them as its history.
func IsAnew(t *zodb.Transaction) bool {
	return len(t.OIDs) == 0 && string(t.Description) == BeginsAnew
}

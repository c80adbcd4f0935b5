package read

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// A chain of revisions or of transactions may end at a file that is missing only where
// a pack has removed it. Two things have to agree with that: x.packed, which is set
// before a pack removes anything, and the transaction, as far as it is still there.
// Everything else is loss, and is called so.

// WhyNoRevision returns why a revision is missing that its transaction lists: nil if a
// pack may have removed it, else a *zodb.CorruptError.
func (r *Reader) WhyNoRevision(oid zodb.OID, tid zodb.TID) error {
	if r.PackedAway(tid) {
		return nil
	}
	return r.lostRevision(oid, tid, "its transaction names it, and it is missing although it was not packed away")
}

// WhyNoPrevious returns why the revision before o is missing: nil if a pack may have
// removed it, a *zodb.CorruptError if it is lost. Another error says that its
// transaction cannot be read, so that it is not known.
func (r *Reader) WhyNoPrevious(o *record.Object) error {
	if !r.PackedAway(o.Previous) {
		return r.lostRevision(o.OID, o.Previous,
			fmt.Sprintf("revision %s names it as the one before, and it is missing although it was not packed away", o.Serial))
	}
	t, err := r.TransactionFile(o.Previous)
	switch {
	case errors.Is(err, zodb.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("revision %s of object %s is missing; whether it was packed away its transaction would tell: %w", o.Previous, o.OID, err)
	case !slices.Contains(t.OIDs, o.OID):
		return r.lostRevision(o.OID, o.Previous,
			fmt.Sprintf("revision %s names it as the one before; it is missing, and its transaction did not write the object", o.Serial))
	}
	return nil
}

func (r *Reader) lostRevision(oid zodb.OID, tid zodb.TID, reason string) error {
	return &zodb.CorruptError{Path: r.o.Store.Place(layout.Revision(oid, tid)), OID: oid, TID: tid, Reason: reason}
}

// lostTransaction is about a transaction that by names, and that is missing although it
// was not packed away.
func (r *Reader) lostTransaction(tid zodb.TID, by string) error {
	return &zodb.CorruptError{Path: r.o.Store.Place(layout.Transaction(tid)), TID: tid,
		Reason: by + " names it, and it is missing although it was not packed away"}
}

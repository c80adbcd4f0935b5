package filestorage

import (
	"context"
	"fmt"
	"maps"

	"github.com/dirstorage/dirstorage/zodb"
)

// Totals counts the contents of a file.
type Totals struct {
	Transactions int64
	Records      int64
	Objects      int64 // oids, those that do not exist any more included
}

// Verify reads the whole file. Beyond the checks that every iteration makes, it
// checks that each record names the newest earlier one of its object, for which
// it remembers their positions: some 16 to 40 bytes an object. A record that
// names none although there is one is a [Warning]: that happens after packs. The
// error is the first damage, a *zodb.CorruptError, or that of ctx; a torn end is
// none, see [Reader.Truncated].
func (r *Reader) Verify(ctx context.Context) (Totals, error) {
	var n Totals
	newest := make(map[zodb.OID]int64)
	for t, err := range r.Transactions(ctx, Position{}) {
		if err != nil {
			return n, err
		}
		n.Transactions++
		records, err := t.verify(newest)
		n.Records += records
		if err != nil {
			return n, err
		}
	}
	n.Objects = int64(len(newest))
	return n, nil
}

// verify checks one transaction against the newest records before it and
// enters its own.
func (t *Txn) verify(newest map[zodb.OID]int64) (records int64, err error) {
	// All records of an oid in one transaction name the one before the
	// transaction, so its own count only afterwards.
	own := make(map[zodb.OID]int64)
	for rec, err := range t.Records() {
		if err != nil {
			return records, err
		}
		records++
		switch before := newest[rec.OID]; {
		case rec.Prev == before:
		case rec.Prev == 0:
			t.r.warn(Warning{Offset: rec.Pos, TID: t.TID, OID: rec.OID, Reason: fmt.Sprintf("names no previous record, there is one at %d", before)})
		default:
			return records, t.corrupt(rec.Pos, rec.OID, fmt.Sprintf("names a previous record at %d, the newest one is at %d", rec.Prev, before))
		}
		own[rec.OID] = rec.Pos
	}
	maps.Copy(newest, own)
	return records, nil
}

package read

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Direct reads past the cache, for a pack: that reads everything once, and has to see the
// files themselves. Its methods may be called concurrently.
type Direct struct{ r *Reader }

// Direct returns it.
func (r *Reader) Direct() Direct { return Direct{r} }

// Current returns the current revision of an object. The error matches [pack.ErrNoObject] if
// there is none.
func (d Direct) Current(ctx context.Context, oid zodb.OID) (o *record.Object, err error) {
	r := d.r
	err = r.validated(ctx, func() error {
		if rev, ok := r.o.State.Current(oid); ok {
			o, err = r.FromLog(rev)
		} else {
			o, err = r.currentFile(oid)
		}
		return err
	})
	if k, ok := errors.AsType[*zodb.KeyError](err); ok && k.TID == 0 {
		return nil, fmt.Errorf("%w: %s", pack.ErrNoObject, oid)
	}
	return o, err
}

// Revision returns one revision. The error matches zodb.ErrNotFound if a pack may have
// removed it; it is a *zodb.CorruptError if it is lost.
func (d Direct) Revision(ctx context.Context, oid zodb.OID, tid zodb.TID) (o *record.Object, err error) {
	r := d.r
	err = r.validated(ctx, func() error {
		if rev, ok := r.o.State.Revision(oid, tid); ok {
			o, err = r.FromLog(rev)
		} else {
			o, err = r.FromFile(layout.Revision(oid, tid), oid, tid)
		}
		return err
	})
	if errors.Is(err, zodb.ErrNotFound) {
		if why := r.WhyNoRevision(oid, tid); why != nil {
			return nil, why
		}
	}
	return o, err
}

// Transaction reads the file of a transaction. The error matches zodb.ErrNotFound if there
// is none.
func (d Direct) Transaction(tid zodb.TID) (*record.Transaction, error) {
	return d.r.TransactionFile(tid)
}

// TransactionsBackward is [Reader.TransactionsBackward].
func (d Direct) TransactionsBackward(ctx context.Context, from zodb.TID) iter.Seq2[*zodb.Transaction, error] {
	return d.r.TransactionsBackward(ctx, from)
}

// BeforeDamaged returns the transaction before one whose file cannot be believed; 0 if there
// is none.
func (d Direct) BeforeDamaged(tid zodb.TID) (zodb.TID, error) { return d.r.beforeDamaged(tid) }

// OlderRevision returns the newest revision of an object before a serial that has a file or
// is in the journal; 0 if there is none. It lists a directory.
func (d Direct) OlderRevision(oid zodb.OID, before zodb.TID) (zodb.TID, error) {
	return d.r.olderRevision(oid, before)
}

// IsDamage reports whether an error of a read tells of one file only.
func (d Direct) IsDamage(ctx context.Context, err error) bool { return d.r.isDamage(ctx, err) }

package transfer

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// walk goes through all revisions of a storage, by transaction. Revisions of transactions that
// were packed away, and all of class Minimal, come in transactions that are made up: without user,
// with status p and a description that says so.
type walk struct {
	s        zodb.Storage
	from, to zodb.TID // to = 0: the last
	// skip reports whether to go on after something that cannot be read. Then the revisions of a
	// transaction that cannot be read are looked for by name. nil: the walk ends.
	skip func(ctx context.Context, b Broken, err error) bool
	// damaged are the transactions that cannot be read.
	damaged    map[zodb.TID]bool
	packedAway int64 // how many transactions were made up
}

// revision is one that no transaction lists.
type revision struct {
	tid zodb.TID
	oid zodb.OID
}

// transactions yields them in the order of their tids.
func (w *walk) transactions(ctx context.Context) iter.Seq2[*zodb.Transaction, error] {
	return func(yield func(*zodb.Transaction, error) bool) {
		unlisted, err := w.unlisted(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for txn, err := range w.listed(ctx) {
			if txn != nil && err != nil && w.skip != nil && w.skip(ctx, brokenTransaction(txn.TID, err), err) {
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for len(unlisted) > 0 && unlisted[0].tid < txn.TID {
				var made *zodb.Transaction
				if made, unlisted = w.madeUp(unlisted); !yield(made, nil) {
					return
				}
			}
			if !yield(txn, nil) {
				return
			}
		}
		for len(unlisted) > 0 {
			var made *zodb.Transaction
			if made, unlisted = w.madeUp(unlisted); !yield(made, nil) {
				return
			}
		}
	}
}

// listed yields the transactions of the storage; none for class Minimal.
func (w *walk) listed(ctx context.Context) iter.Seq2[*zodb.Transaction, error] {
	if w.s.Status().Class == zodb.ClassMinimal {
		return func(func(*zodb.Transaction, error) bool) {}
	}
	return w.s.Transactions(ctx, w.from, w.to)
}

func brokenTransaction(tid zodb.TID, err error) Broken {
	link := errors.Is(err, zodb.ErrBrokenLink)
	return Broken{TID: tid, Transaction: !link, Link: link}
}

// unlisted returns the revisions whose transaction was packed away, or cannot be read, by tid and
// oid. It costs a look at every object where there may be such.
func (w *walk) unlisted(ctx context.Context) ([]revision, error) {
	st := w.s.Status()
	minimal := st.Class == zodb.ClassMinimal
	if !minimal && st.Packed < max(w.from, 1) && w.skip == nil {
		return nil, nil
	}
	listed := make(map[zodb.TID]bool)
	w.damaged = make(map[zodb.TID]bool)
	for txn, err := range w.listed(ctx) {
		switch {
		case err != nil && (txn == nil || w.skip == nil):
			return nil, err
		case err != nil && !errors.Is(err, zodb.ErrBrokenLink):
			w.damaged[txn.TID] = true
		case err == nil && txn.TID <= st.Packed:
			listed[txn.TID] = true
		}
		if txn.TID > st.Packed && w.skip == nil {
			break
		}
	}
	if !minimal && st.Packed == 0 && len(w.damaged) == 0 {
		return nil, nil
	}
	var found []revision
	for oid, err := range w.s.OIDs(ctx) {
		if err != nil {
			return nil, err
		}
		for serial, err := range w.s.Serials(ctx, oid) {
			if err != nil && (serial == 0 || w.skip == nil || ctx.Err() != nil) {
				return nil, err // else it is told when the record is read
			}
			if (minimal || serial <= st.Packed || w.damaged[serial]) && !listed[serial] && serial >= w.from && (w.to == 0 || serial <= w.to) {
				found = append(found, revision{serial, oid})
			}
		}
	}
	slices.SortFunc(found, func(a, b revision) int {
		return cmp.Or(cmp.Compare(a.tid, b.tid), cmp.Compare(a.oid, b.oid))
	})
	return slices.Compact(found), nil
}

// madeUp makes a transaction of the revisions of the first tid, and returns the others.
func (w *walk) madeUp(list []revision) (*zodb.Transaction, []revision) {
	txn := &zodb.Transaction{TID: list[0].tid, Status: 'p', TxnMeta: zodb.TxnMeta{Description: []byte("packed away")}}
	for len(list) > 0 && list[0].tid == txn.TID {
		txn.OIDs = append(txn.OIDs, list[0].oid)
		list = list[1:]
	}
	if w.damaged[txn.TID] {
		txn.Description = []byte("this transaction was damaged, and these are the revisions of it that were found")
	} else {
		w.packedAway++
	}
	return txn, list
}

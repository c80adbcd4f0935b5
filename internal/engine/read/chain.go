package read

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TransactionsBackward yields the transactions from one (0 = the last) back to
// the oldest that is not packed away. A transaction that is damaged, or missing
// although it was not packed away, comes with an error, and of the transaction only its
// TID is filled in; those before it follow, as far as they can be found. So it is, with an
// error that matches ErrBrokenLink, behind a transaction that does not lead to the one
// before it. An error without a transaction is the end.
func (r *Reader) TransactionsBackward(ctx context.Context, from zodb.TID) iter.Seq2[*zodb.Transaction, error] {
	return untilClosed(ctx, r, r.backward(ctx, from, true))
}

// backward is TransactionsBackward; unless exact, it does not make sure that the oldest one
// is that, for which it would list directories.
func (r *Reader) backward(ctx context.Context, from zodb.TID, exact bool) iter.Seq2[*zodb.Transaction, error] {
	return func(yield func(*zodb.Transaction, error) bool) {
		if !r.o.Home.Full {
			yield(nil, zodb.ErrUnsupported)
			return
		}
		at := place{tid: from}
		if from == 0 {
			at.tid = r.LastTransaction()
		}
		for at.tid != 0 {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			t, err := r.Transaction(ctx, at.tid)
			if err == nil && !yield(t, nil) {
				return
			}
			var next place
			if err == nil {
				next, err = r.follow(t)
			} else {
				next, err = r.pastDamage(ctx, at, err)
			}
			if err == nil && next.tid == 0 && exact {
				next, err = r.endOfChain(next)
			}
			if err != nil && next.damaged == 0 {
				yield(nil, err)
				return
			}
			if err != nil && !yield(&zodb.Transaction{TID: next.damaged}, err) {
				return
			}
			at = next
		}
	}
}

// place is where a walk back through the transactions is.
type place struct {
	tid   zodb.TID // 0 = at the end
	newer zodb.TID // the one after it, 0 = not known
	named zodb.TID // by newer as the one before it; at the end of the chain
	// damaged is the transaction that an error is about; 0: about none, and it is the end.
	damaged zodb.TID
}

// follow goes to the transaction that one names as the one before.
func (r *Reader) follow(t *zodb.Transaction) (place, error) {
	if t.Previous < t.TID {
		return place{tid: t.Previous, newer: t.TID}, nil
	}
	older, err := r.beforeDamaged(t.TID)
	if err != nil {
		return place{}, err
	}
	return place{tid: older, newer: t.TID, damaged: t.TID}, r.brokenLink(t.TID, fmt.Sprintf("history does not go backwards: the transaction before it is %s", t.Previous))
}

// pastDamage decides where to go on if the transaction at a place cannot be read. The
// error names the damage; nil if it was packed away.
func (r *Reader) pastDamage(ctx context.Context, at place, cause error) (place, error) {
	missing := errors.Is(cause, zodb.ErrNotFound)
	switch {
	case missing && at.newer != 0 && r.PackedAway(at.tid):
		// It may just have been packed, and older ones stay.
		older, err := r.olderThan(ctx, at.newer)
		if older == at.tid {
			older = 0
		}
		return place{tid: older, newer: at.newer, named: at.tid}, err
	case missing && at.newer != 0:
		return r.pastLost(at)
	case !r.isDamage(ctx, cause):
		return place{}, cause
	}
	older, err := r.beforeDamaged(at.tid)
	if err != nil {
		if err.Error() == cause.Error() { // the same damage is in the way
			return place{}, cause
		}
		return place{}, errors.Join(cause, err)
	}
	return place{tid: older, newer: at.tid, damaged: at.tid}, cause
}

// pastLost goes on where a transaction that the newer one names is missing. If there are
// others between the two, it is the name that is wrong.
func (r *Reader) pastLost(at place) (place, error) {
	older, err := r.olderTransaction(at.newer)
	if older == at.tid { // of which there is a name, and nothing else
		older, err = r.olderTransaction(at.tid)
	}
	switch {
	case err != nil:
		return place{}, err
	case older > at.tid:
		return place{tid: older, newer: at.newer, damaged: at.newer}, r.brokenLink(at.newer, fmt.Sprintf("it names %s as the one before it, and %s is there", at.tid, older))
	}
	return place{tid: older, newer: at.newer, damaged: at.tid}, r.lostTransaction(at.tid, fmt.Sprintf("transaction %s", at.newer))
}

// endOfChain looks whether the oldest transaction of the chain names the one before it
// rightly, for no checksum covers that: then it was packed away, and there are none
// between the two except leftovers of a pack.
func (r *Reader) endOfChain(at place) (place, error) {
	older, err := r.olderTransaction(at.newer)
	if err != nil || older <= at.named || r.PackedAway(older) {
		return place{}, err
	}
	return place{tid: older, newer: at.newer, damaged: at.newer}, r.brokenLink(at.newer, fmt.Sprintf("it names %s as the one before it, which was packed away, and %s is there and was not", at.named, older))
}

func (r *Reader) brokenLink(tid zodb.TID, reason string) error {
	return fmt.Errorf("%w: %w", zodb.ErrBrokenLink, &zodb.CorruptError{Path: r.o.Store.Place(layout.Transaction(tid)), TID: tid, Reason: reason})
}

// beforeDamaged returns the transaction before one whose file cannot be believed; 0 if
// there is none. The names of files tell, or, where a pack may have left some, the
// header, which the checksum does not cover.
func (r *Reader) beforeDamaged(tid zodb.TID) (zodb.TID, error) {
	older, err := r.olderTransaction(tid)
	if err != nil || older != 0 && !r.PackedAway(older) {
		return older, err
	}
	b, _, err := r.o.Store.Get(layout.Transaction(tid))
	if err != nil {
		return older, nil // its own error was told
	}
	if previous, ok := record.PreviousTransaction(b, tid); ok && previous != 0 {
		if _, err := r.o.Store.Stat(layout.Transaction(previous)); err == nil || !r.PackedAway(previous) {
			return previous, nil
		}
	}
	return older, nil
}

// olderTransaction returns the newest transaction before one that is in the log, or of
// which there is a file; 0 if there is none. It lists directories.
func (r *Reader) olderTransaction(before zodb.TID) (older zodb.TID, err error) {
	older = r.o.State.OlderTransaction(before)
	tid, err := r.o.Store.OlderTransaction(before)
	if err != nil {
		return 0, err
	}
	return max(older, tid), nil
}

// before returns the transaction before one, damaged or not. The error matches
// zodb.ErrNotFound if there is no such transaction.
func (r *Reader) before(ctx context.Context, tid zodb.TID) (zodb.TID, error) {
	t, err := r.Transaction(ctx, tid)
	switch {
	case err == nil && t.Previous < t.TID:
		return t.Previous, nil
	case err == nil || r.isDamage(ctx, err):
		return r.beforeDamaged(tid)
	}
	return 0, err
}

// isDamage reports whether an error of a read concerns one file that exists, and neither
// the process nor the moment.
func (r *Reader) isDamage(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !errors.Is(err, zodb.ErrNotFound) && !errors.Is(err, zodb.ErrClosed) && !vfs.Passes(err)
}

// olderThan returns the transaction before one as the chain is now, from which that
// one may be missing; 0 if there is none. A pack removes the newer of two before the
// older, so one that is there and names one that is gone is the last that stays.
func (r *Reader) olderThan(ctx context.Context, tid zodb.TID) (zodb.TID, error) {
	older, err := r.before(ctx, tid)
	if err == nil || !errors.Is(err, zodb.ErrNotFound) {
		return older, err
	}
	newer, at := zodb.TID(0), r.LastTransaction()
	for at >= tid {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		older, err := r.before(ctx, at)
		switch {
		case err == nil:
			newer, at = at, older
			continue
		case !errors.Is(err, zodb.ErrNotFound) || newer == 0:
			return 0, err
		}
		older, err = r.before(ctx, newer)
		switch {
		case err == nil && older == at && !r.PackedAway(at):
			return 0, r.lostTransaction(at, fmt.Sprintf("transaction %s", newer))
		case err == nil && older == at:
			return 0, nil
		case err != nil && !errors.Is(err, zodb.ErrNotFound):
			return 0, err
		}
		newer, at = 0, r.LastTransaction() // it was packed this moment
	}
	return at, nil
}

package filestorage

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/dirstorage/dirstorage/zodb"
)

// Skipped is a damaged part of a file that was passed over, or Taken, see [Reader.Salvage].
type Skipped struct {
	Offset int64    `json:"offset"` // of the part, in bytes
	Length int64    `json:"length"` // of the part, in bytes
	TID    zodb.TID `json:"tid"`    // of the transaction, as far as it can be believed
	OID    zodb.OID `json:"oid"`    // of the record; 0 if it is the whole transaction
	Whole  bool     `json:"whole"`  // not a record of the transaction, but all of it, or several
	Taken  bool     `json:"taken"`  // the whole transaction was read all the same: only a length of it is wrong
	Reason string   `json:"reason"`
}

// goOn decides how to go on at a place where no transaction can be read, and returns the position
// of the next one, or the end of the file if there is none. A torn end has nothing sound behind it,
// so if there is something, this is damage, with err as its cause.
func (r *Reader) goOn(ctx context.Context, pos int64, end string, err error) (int64, error) {
	var damage *zodb.CorruptError
	if err != nil && (!errors.As(err, &damage) || r.Salvage == nil) {
		return 0, err
	}
	next, tid, serr := r.resync(ctx, pos)
	if serr != nil {
		return 0, serr
	}
	if next == r.size && damage == nil {
		r.setTruncated(pos, end)
		return next, nil
	}
	reason := end
	if damage != nil {
		reason = damage.Reason
	}
	if r.Salvage == nil {
		return 0, r.corrupt(pos, 0, 0, fmt.Sprintf("%s, but transaction %s is sound, at byte %d: this is damage in the middle and no torn end", end, tid, next))
	}
	r.Salvage(Skipped{Offset: pos, Length: next - pos, Whole: true, Reason: reason})
	return next, nil
}

// resync returns the position and the tid of the first sound transaction behind pos; the
// end of the file if there is none. Each of its records must say where the transaction
// is, which no copy of a Data.fs within a record does. So one without records is
// not believed here.
func (r *Reader) resync(ctx context.Context, pos int64) (int64, zodb.TID, error) {
	win := newWindow(r.src, r.size, bodyAhead)
	for pos++; pos+txnHeaderLen+lengthLen <= r.size; pos++ {
		if pos&0xFFFF == 0 && ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
		b, err := win.at(pos, txnHeaderLen)
		if err != nil {
			return 0, 0, r.wrap(err)
		}
		if b[16] != statusDone && b[16] != statusPacked {
			continue
		}
		h := parseTxnHeader(b)
		if int64(h.length) <= h.size() || h.length > math.MaxInt64-lengthLen || int64(h.length)+lengthLen > r.size-pos {
			continue
		}
		sound, err := r.sound(pos, h)
		if err != nil {
			return 0, 0, err
		}
		if sound {
			return pos, h.tid, nil
		}
	}
	return r.size, 0, nil
}

// sound reports whether there is a transaction at pos with at least one record, of which
// all headers fit.
func (r *Reader) sound(pos int64, h txnHeader) (bool, error) {
	if length, err := r.lengthAt(pos + int64(h.length)); err != nil || length != h.length {
		return false, err
	}
	t := &Txn{FileTID: h.tid, Pos: pos, Len: int64(h.length) + lengthLen, r: r, body: pos + h.size(), win: newWindow(r.src, r.size, headerAhead)}
	for _, rec := range t.strictHeaders() {
		if rec.err != nil {
			return false, notDamage(rec.err)
		}
	}
	return true, nil
}

// notDamage returns err unless it tells of damage.
func notDamage(err error) error {
	if errors.Is(err, zodb.ErrCorrupt) {
		return nil
	}
	return err
}

// soundHeaders yields the headers that can be believed, and reports the others. A record before one
// that does not fit is not believed either: its length may be damaged.
func (t *Txn) soundHeaders() iter.Seq2[int64, headerOrError] {
	return func(yield func(int64, headerOrError) bool) {
		end := t.Pos + t.Len - lengthLen
		var held dataHeader // at position heldAt
		heldAt := int64(-1)
		for pos := t.body; pos < end; {
			h, err := t.header(pos, end)
			if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
				yield(pos, headerOrError{err: err})
				return
			}
			if err != nil {
				from := pos
				if heldAt >= 0 {
					from, h = heldAt, held
				}
				if pos, err = t.nextRecord(pos, end); err != nil {
					yield(pos, headerOrError{err: err})
					return
				}
				t.r.Salvage(Skipped{Offset: from, Length: pos - from, TID: t.TID, OID: h.oid, Reason: "records of the transaction do not fit together"})
				heldAt = -1
				continue
			}
			if heldAt >= 0 && !yield(heldAt, headerOrError{dataHeader: held}) {
				return
			}
			held, heldAt = h, pos
			pos += dataHeaderLen + int64(h.body())
		}
		if heldAt >= 0 {
			yield(heldAt, headerOrError{dataHeader: held})
		}
	}
}

// skipRecord tells of a record that is damaged, and reports whether it is to be passed over.
func (r *Reader) skipRecord(t *Txn, pos int64, h dataHeader, err error) bool {
	var damage *zodb.CorruptError
	if r.Salvage == nil || !errors.As(err, &damage) {
		return false
	}
	r.Salvage(Skipped{Offset: pos, Length: dataHeaderLen + int64(h.body()), TID: t.TID, OID: h.oid, Reason: damage.Reason})
	return true
}

// nextRecord returns the position of the first data record behind pos whose header fits
// the transaction; its end if there is none.
func (t *Txn) nextRecord(pos, end int64) (int64, error) {
	for pos++; pos+dataHeaderLen < end; pos++ {
		_, err := t.header(pos, end)
		if err == nil {
			return pos, nil
		}
		if err := notDamage(err); err != nil {
			return 0, err
		}
	}
	return end, nil
}

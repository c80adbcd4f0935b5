package filestorage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// length returns the length of the transaction at pos, without its last 8 bytes. Without
// one it returns the reason: an end that is that of the file, if nothing sound is behind
// it, or an error.
//
// A write that was torn off leaves no copy of the length behind the last record, and none
// at the end of the file. So a transaction that has one is whole, and a length in its
// header that differs from it is damage.
func (r *Reader) length(pos int64, h txnHeader) (n int64, end string, err error) {
	left := r.size - pos
	reason := ""
	at := pos
	switch {
	case h.length > math.MaxInt64-lengthLen || int64(h.length)+lengthLen > left:
		end = "transaction " + h.tid.String() + " runs past the end of the file"
		if h.status == statusVoted {
			return 0, end, nil
		}
	case h.status == statusVoted:
		return 0, "transaction " + h.tid.String() + " was voted, but not finished", nil
	case int64(h.length) < h.size():
		end = fmt.Sprintf("length of the transaction is %d, less than its header", h.length)
	case !h.committed():
		return 0, "", r.corrupt(pos, 0, h.tid, fmt.Sprintf("status of transaction is %q", h.status))
	default:
		at = pos + int64(h.length)
		copied, err := r.lengthAt(at)
		if err != nil {
			return 0, "", err
		}
		if copied == h.length {
			return int64(h.length), "", nil
		}
		reason = fmt.Sprintf("length at the end of the transaction is %d, at its start %d", copied, h.length)
	}
	known, err := r.knownLength(pos, h)
	switch {
	case err != nil:
		return 0, "", err
	case known > 0 && r.Salvage != nil && h.committed():
		if end != "" {
			reason = end
		}
		r.Salvage(Skipped{Offset: pos, Length: known + lengthLen, TID: h.tid, Taken: true, Reason: reason})
		return known, "", nil
	case reason != "":
		return 0, "", r.corrupt(at, 0, h.tid, reason)
	case known > 0:
		return 0, "", r.corrupt(pos, 0, h.tid, fmt.Sprintf("%s, but its other length is there, and is %d: this is damage of the length and no torn end", end, known))
	case int64(h.length) < h.size():
		return 0, end, r.shortLength(pos, h, end)
	}
	return 0, end, nil
}

// lengthAt returns the 8 bytes at pos. It does not go through a window, which would lose its place.
func (r *Reader) lengthAt(pos int64) (uint64, error) {
	var b [lengthLen]byte
	if err := readFull(r.src, b[:], pos); err != nil {
		return 0, r.wrap(err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// knownLength returns the length of a transaction of which the two lengths do not agree,
// if one of them is confirmed by the records between, or by the end of the file; else 0.
func (r *Reader) knownLength(pos int64, h txnHeader) (int64, error) {
	if pos+h.size()+lengthLen > r.size {
		return 0, nil
	}
	if end, err := r.recordsEnd(pos, h); end != 0 || err != nil {
		return end, err
	}
	last, err := r.lengthAt(r.size - lengthLen)
	if err != nil || last < uint64(h.size()) || last != uint64(r.size-lengthLen-pos) {
		return 0, err
	}
	return int64(last), nil
}

// recordsEnd goes over the records of the transaction at pos, and returns the length up
// to the end of the last one if it is the same as one of the two lengths; else 0.
func (r *Reader) recordsEnd(pos int64, h txnHeader) (int64, error) {
	t := &Txn{FileTID: h.tid, Pos: pos, Len: r.size + lengthLen - pos, r: r, body: pos + h.size(), win: newWindow(r.src, r.size, headerAhead)}
	at := t.body
	for rec, header := range t.strictHeaders() {
		if header.err != nil {
			if err := notDamage(header.err); err != nil {
				return 0, err
			}
			break
		}
		at = rec + dataHeaderLen + int64(header.body())
	}
	if at+lengthLen > r.size {
		return 0, nil
	}
	length, err := r.lengthAt(at)
	if err != nil {
		return 0, err
	}
	n := at - pos
	if length == uint64(n) {
		is, err := r.isLength(at, h, n)
		if is || err != nil {
			return n, err
		}
		return 0, nil
	}
	if h.length == uint64(n) {
		return n, nil
	}
	return 0, nil
}

// isLength tells the length of a transaction, n, from the first 8 bytes of a data record
// that was torn off in its header: an oid of that number. Behind that comes the tid of
// its transaction, behind the length that of the next one.
func (r *Reader) isLength(at int64, h txnHeader, n int64) (bool, error) {
	behind := make([]byte, min(8, r.size-at-lengthLen))
	if len(behind) == 0 {
		return true, nil
	}
	if err := readFull(r.src, behind, at+lengthLen); err != nil {
		return false, r.wrap(err)
	}
	if !bytes.HasPrefix(h.tid.Append(nil), behind) {
		return true, nil
	}
	// The beginnings of two tids may be the same. A bit that was flipped decides.
	return len(behind) < 8 && bits.OnesCount64(h.length^uint64(n)) == 1, nil
}

// shortLength decides about a transaction that claims to be shorter than its
// header. As in ZODB that is a torn end, unless the file ends with a plausible length of a
// transaction from there on: then the damage is in the middle. So it is if both of its lengths
// agree.
func (r *Reader) shortLength(pos int64, h txnHeader, reason string) error {
	last, err := r.lengthAt(r.size - lengthLen)
	if err != nil {
		return err
	}
	same := false
	if h.length >= txnHeaderLen {
		own, err := r.lengthAt(pos + int64(h.length))
		if err != nil {
			return err
		}
		same = own == h.length
	}
	if !same && (last < txnHeaderLen || last > uint64(r.size-pos)) {
		return nil
	}
	return r.corrupt(pos, 0, h.tid, reason)
}

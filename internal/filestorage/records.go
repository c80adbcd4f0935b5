package filestorage

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/dirstorage/dirstorage/zodb"
)

// Record is one data record. Data is owned by the caller, and is that of the
// record that the pointers lead to. DataTID is the tid of the record that Back
// names (which may itself have no data but a pointer). HasBlob is not filled
// in, see [IsBlobRecord].
type Record struct {
	zodb.Record
	Pos  int64 // of the record in the file
	Prev int64 // position of the previous record of the oid; 0 = none, or packed away
	Back int64 // position of the record whose data this one has; 0 = it has its own, or does not exist
	Own  int64 // length of its own data in bytes; 0 = it has none
}

// Records yields the data records of the transaction in the order of the file.
// An oid may occur more than once, then the last one counts; see [Txn.LastRecords].
// Damage is a *zodb.CorruptError, after which nothing comes.
func (t *Txn) Records() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		back := newWindow(t.r.src, t.r.size, backAhead)
		for pos, h := range t.headers() {
			if h.err != nil {
				yield(Record{}, h.err)
				return
			}
			t.r.offset.Store(pos)
			rec, err := t.record(pos, h.dataHeader, back)
			if t.r.skipRecord(t, pos, h.dataHeader, err) {
				continue
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// LastRecords is [Txn.Records] without those that a later one of the same oid in
// the transaction replaces. It needs memory for each object of the transaction,
// some 16 to 40 bytes.
func (t *Txn) LastRecords() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		last := make(map[zodb.OID]int64)
		for pos, h := range t.headers() {
			if h.err != nil {
				yield(Record{}, h.err)
				return
			}
			last[h.oid] = pos
		}
		for rec, err := range t.Records() {
			if err == nil && last[rec.OID] != rec.Pos {
				continue
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

// headerOrError is an element of headers.
type headerOrError struct {
	dataHeader
	err error
}

// headers yields position and header of each record, checked against the
// transaction. It ends after an error; with [Reader.Salvage], it goes on with the sound records
// behind it.
func (t *Txn) headers() iter.Seq2[int64, headerOrError] {
	if t.r.Salvage != nil {
		return t.soundHeaders()
	}
	return t.strictHeaders()
}

func (t *Txn) strictHeaders() iter.Seq2[int64, headerOrError] {
	return func(yield func(int64, headerOrError) bool) {
		end := t.Pos + t.Len - lengthLen
		for pos := t.body; pos < end; {
			h, err := t.header(pos, end)
			if !yield(pos, headerOrError{h, err}) || err != nil {
				return
			}
			pos += dataHeaderLen + int64(h.body())
		}
	}
}

// header reads the data header at pos and makes the checks that need no other record.
func (t *Txn) header(pos, end int64) (dataHeader, error) {
	if end-pos < dataHeaderLen {
		return dataHeader{}, t.corrupt(pos, 0, fmt.Sprintf("%d bytes behind the last data record of the transaction", end-pos))
	}
	b, err := t.win.at(pos, dataHeaderLen)
	if err != nil {
		return dataHeader{}, t.r.wrap(err)
	}
	h := parseDataHeader(b)
	switch {
	case h.tid != t.FileTID:
		err = t.corrupt(pos, h.oid, "data record has tid "+h.tid.String())
	case h.txn != uint64(t.Pos):
		err = t.corrupt(pos, h.oid, fmt.Sprintf("data record says that its transaction is at %d, it is at %d", h.txn, t.Pos))
	case h.version != 0:
		err = t.corrupt(pos, h.oid, "data record belongs to a version, which is not supported")
	case h.prev >= uint64(pos):
		err = t.corrupt(pos, h.oid, fmt.Sprintf("previous record at %d is not before this one", h.prev))
	case h.body() > uint64(end-pos-dataHeaderLen):
		err = t.corrupt(pos, h.oid, "data record runs past the end of its transaction")
	}
	return h, err
}

// record reads the data behind the header at pos.
func (t *Txn) record(pos int64, h dataHeader, back *window) (Record, error) {
	rec := Record{Pos: pos, Prev: int64(h.prev), Own: int64(h.length)}
	rec.OID, rec.TID = h.oid, t.TID
	if h.length > 0 {
		data, err := t.win.copy(pos+dataHeaderLen, int64(h.length))
		if err != nil {
			return Record{}, t.r.wrap(err)
		}
		rec.Data, rec.Exists = data, true
		return rec, nil
	}
	b, err := t.win.at(pos+dataHeaderLen, backLen)
	if err != nil {
		return Record{}, t.r.wrap(err)
	}
	target := binary.BigEndian.Uint64(b)
	if target == 0 {
		return rec, nil
	}
	if target >= uint64(pos) {
		return Record{}, t.corrupt(pos, h.oid, fmt.Sprintf("backpointer to %d, which is not before the record", target))
	}
	rec.Back = int64(target)
	rec.DataTID, rec.Data, err = t.r.follow(back, rec.Back, pos, h)
	if err != nil {
		return Record{}, err
	}
	rec.Exists = rec.Data != nil
	return rec, nil
}

// follow returns the tid of the record at target and the data that it leads to,
// nil if that is an object that does not exist. from is the position of the record h that
// points there. Each hop must go back, so that it ends.
func (r *Reader) follow(win *window, target, from int64, h dataHeader) (tid zodb.TID, data []byte, err error) {
	fail := func(reason string) (zodb.TID, []byte, error) {
		return 0, nil, r.corrupt(from, h.oid, h.tid, fmt.Sprintf("backpointer to %d: %s", target, reason))
	}
	for hop := 0; ; hop++ {
		if target < magicLen || target > r.size-dataHeaderLen-backLen {
			return fail("no place for a data record")
		}
		b, err := win.at(target, dataHeaderLen+backLen)
		if err != nil {
			return 0, nil, r.wrap(err)
		}
		there := parseDataHeader(b)
		if there.oid != h.oid || there.version != 0 {
			return fail(fmt.Sprintf("there is no record of the object, but one of oid %s, tid %s", there.oid, there.tid))
		}
		if hop == 0 {
			tid = r.tidOf(there)
		}
		if there.length > 0 {
			if there.length > uint64(from-target-dataHeaderLen) {
				return fail("data runs into the record that points to it")
			}
			data, err = win.copy(target+dataHeaderLen, int64(there.length))
			if err != nil {
				return 0, nil, r.wrap(err)
			}
			return tid, data, nil
		}
		next := binary.BigEndian.Uint64(b[dataHeaderLen:])
		if next == 0 {
			return tid, nil, nil
		}
		if next >= uint64(target) {
			return fail(fmt.Sprintf("from there a backpointer to %d, which is not before it", next))
		}
		from, target = target, int64(next)
	}
}

func (t *Txn) corrupt(offset int64, oid zodb.OID, reason string) error {
	return t.r.corrupt(offset, oid, t.TID, reason)
}

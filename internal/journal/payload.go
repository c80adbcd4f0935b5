package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	dataFixed   = 64
	metaFixed   = 48
	commitFixed = 64
	markFixed   = 24

	commitFrame = frameHead + commitFixed
	markFrame   = frameHead + markFixed

	dataGone = 1
	dataBlob = 2

	metaPacked = 1

	// maxBlobFile is the largest length of the name of a blob's file.
	maxBlobFile = 4096

	// maxHead is as much of a payload as has to be in memory to understand it:
	// all of it, but for data frames, of which it has all but the data.
	maxHead = metaFixed + 3*zodb.MaxMetaLen
)

// maxData is the largest length in bytes of the data of one revision.
const maxData = math.MaxUint32 - dataFixed - maxBlobFile

// Entry is one revision of one object in the log, without its data.
type Entry struct {
	OID      zodb.OID
	TID      zodb.TID // transaction that stored it; 0 before it is committed
	Previous zodb.TID // serial of the revision before it; 0 = none
	UndoFrom zodb.TID // serial of the revision that an undo copied; 0 = none
	Gone     bool     // from here on the object does not exist; there is no data
	Blob     bool     // a blob belongs to it, described by the next three
	BlobSum  record.BlobSum
	BlobFile string   // its staged file relative to HOME, at most 4096 bytes
	BlobSize int64    // bytes
	Len      int64    // length of the data in bytes, at most maxData
	Pos      Position // of its frame; set by Append

	handle uint64
}

// payload is the length of the payload of the data frame.
func (e *Entry) payload() int64 { return dataFixed + int64(len(e.BlobFile)) + e.Len }

// check refuses values that the format has no room for.
func (e *Entry) check() error {
	switch {
	case e.Len < 0 || e.Len > maxData:
		return fmt.Errorf("object %s: a record of %d bytes; the limit is %d", e.OID, e.Len, int64(maxData))
	case len(e.BlobFile) > maxBlobFile:
		return fmt.Errorf("object %s: the name of the blob's file has %d bytes; the limit is %d", e.OID, len(e.BlobFile), maxBlobFile)
	case e.Gone && (e.Len > 0 || e.Blob):
		return fmt.Errorf("object %s: a revision that says that the object does not exist, with data", e.OID)
	case e.Blob != (e.BlobFile != "") || e.BlobSize < 0 || !e.Blob && (e.BlobSize != 0 || !e.BlobSum.IsZero()):
		return fmt.Errorf("object %s: its blob is not fully described", e.OID)
	}
	return nil
}

// appendHead appends the fields before the data.
func (e *Entry) appendHead(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, e.handle)
	b = e.OID.Append(b)
	b = e.Previous.Append(b)
	b = e.UndoFrom.Append(b)
	var flags byte
	if e.Gone {
		flags |= dataGone
	}
	if e.Blob {
		flags |= dataBlob
	}
	b = append(b, flags, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.BlobFile)))
	b = append(b, 0, 0, 0, 0)
	b = append(b, e.BlobSum[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.BlobSize))
	return append(b, e.BlobFile...)
}

// parseEntry reads a data payload of a given length, of which b is the start.
func parseEntry(b []byte, length int64) (Entry, error) {
	if len(b) < dataFixed {
		return Entry{}, errors.New("a data frame is too short")
	}
	e := Entry{
		handle:   binary.BigEndian.Uint64(b),
		OID:      zodb.OIDFromBytes(b[8:]),
		Previous: zodb.TIDFromBytes(b[16:]),
		UndoFrom: zodb.TIDFromBytes(b[24:]),
		Gone:     b[32]&dataGone != 0,
		Blob:     b[32]&dataBlob != 0,
		BlobSum:  record.BlobSum(b[40:56]),
		BlobSize: int64(binary.BigEndian.Uint64(b[56:])),
	}
	name := int(binary.BigEndian.Uint16(b[34:]))
	if b[32]&^(dataGone|dataBlob) != 0 || b[33] != 0 || binary.BigEndian.Uint32(b[36:]) != 0 {
		return Entry{}, errors.New("a data frame has bits set that should be zero")
	}
	if dataFixed+name > len(b) {
		return Entry{}, errors.New("a data frame is shorter than the name in it")
	}
	e.BlobFile = string(b[dataFixed : dataFixed+name])
	e.Len = length - dataFixed - int64(name)
	return e, e.check()
}

// meta is the payload of a meta frame.
type meta struct {
	handle  uint64
	first   int64 // offset of the transaction's first frame
	records uint64
	durable Position
	packed  bool
	zodb.TxnMeta
}

func metaPayload(m *zodb.TxnMeta) int64 {
	return metaFixed + int64(len(m.User)+len(m.Description)+len(m.Extension))
}

func (m *meta) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, m.handle)
	b = binary.BigEndian.AppendUint64(b, uint64(m.first))
	b = binary.BigEndian.AppendUint64(b, m.records)
	b = m.durable.append(b)
	for _, f := range [][]byte{m.User, m.Description, m.Extension} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(f)))
	}
	var flags byte
	if m.packed {
		flags |= metaPacked
	}
	b = append(b, flags, 0)
	return append(append(append(b, m.User...), m.Description...), m.Extension...)
}

// parseMeta copies the bytes that it keeps.
func parseMeta(b []byte) (*meta, error) {
	if len(b) < metaFixed {
		return nil, errors.New("a meta frame is too short")
	}
	m := &meta{
		handle: binary.BigEndian.Uint64(b), first: int64(binary.BigEndian.Uint64(b[8:])),
		records: binary.BigEndian.Uint64(b[16:]), durable: position(b[24:]),
		packed: b[46]&metaPacked != 0,
	}
	rest := b[metaFixed:]
	if b[46]&^metaPacked|b[47] != 0 {
		return nil, errors.New("a meta frame has bits set that should be zero")
	}
	for i, f := range []*[]byte{&m.User, &m.Description, &m.Extension} {
		n := int(binary.BigEndian.Uint16(b[40+2*i:]))
		if n > len(rest) {
			return nil, errors.New("a meta frame is shorter than the texts in it")
		}
		if n > 0 {
			*f = append([]byte(nil), rest[:n]...)
		}
		rest = rest[n:]
	}
	if len(rest) > 0 {
		return nil, errors.New("a meta frame is longer than the texts in it")
	}
	return m, nil
}

// commit is the payload of a commit frame.
type commit struct {
	handle        uint64
	tid, previous zodb.TID
	maxOID        zodb.OID
	meta          Position
	durable       Position
}

func (c *commit) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, c.handle)
	b = c.tid.Append(b)
	b = c.previous.Append(b)
	b = c.maxOID.Append(b)
	return c.durable.append(c.meta.append(b))
}

func parseCommit(b []byte) (*commit, error) {
	if len(b) != commitFixed {
		return nil, fmt.Errorf("a commit frame has %d bytes", len(b))
	}
	return &commit{
		handle: binary.BigEndian.Uint64(b), tid: zodb.TIDFromBytes(b[8:]), previous: zodb.TIDFromBytes(b[16:]),
		maxOID: zodb.OIDFromBytes(b[24:]), meta: position(b[32:]), durable: position(b[48:]),
	}, nil
}

// mark is the payload of a mark frame.
type mark struct {
	oldest  uint64
	durable Position
}

func (m *mark) append(b []byte) []byte {
	return m.durable.append(binary.BigEndian.AppendUint64(b, m.oldest))
}

func parseMark(b []byte) (*mark, error) {
	if len(b) != markFixed {
		return nil, fmt.Errorf("a mark frame has %d bytes", len(b))
	}
	return &mark{binary.BigEndian.Uint64(b), position(b[8:])}, nil
}

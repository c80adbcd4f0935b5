package filestorage

import (
	"encoding/binary"

	"github.com/dirstorage/dirstorage/zodb"
)

// Magics of the two kinds of files. They differ in the pickles only.
const (
	magicPython3 = "FS30"
	magicPython2 = "FS21"
	magicLen     = 4
)

// Status of a transaction in the file.
const (
	statusDone   = ' ' // committed
	statusPacked = 'p' // committed, and rewritten by a pack
	statusVoted  = 'c' // not finished; always the last one
	statusUndone = 'u' // undone by a scheme of old, to be skipped
)

// endOfTIDs is the first tid that no transaction can have: ZODB means “the current one” by it.
const endOfTIDs zodb.TID = 1<<63 - 1

// txnHeader is the fixed part of a transaction.
//
//	 0  8  tid
//	 8  8  length of the transaction, without its last 8 bytes
//	16  1  status
//	17  2  length of user
//	19  2  length of description
//	21  2  length of extension
//	23  …  user, description, extension
//	 …  …  data records
//	 …  8  the length once more
type txnHeader struct {
	tid                          zodb.TID
	length                       uint64
	status                       byte
	user, description, extension int
}

const (
	txnHeaderLen = 23
	lengthLen    = 8
)

// size is the length of the header with its texts.
func (h txnHeader) size() int64 {
	return txnHeaderLen + int64(h.user) + int64(h.description) + int64(h.extension)
}

// committed reports whether the status is that of a finished transaction.
func (h txnHeader) committed() bool {
	return h.status == statusDone || h.status == statusPacked || h.status == statusUndone
}

func parseTxnHeader(b []byte) txnHeader {
	return txnHeader{
		tid:         zodb.TIDFromBytes(b),
		length:      binary.BigEndian.Uint64(b[8:]),
		status:      b[16],
		user:        int(binary.BigEndian.Uint16(b[17:])),
		description: int(binary.BigEndian.Uint16(b[19:])),
		extension:   int(binary.BigEndian.Uint16(b[21:])),
	}
}

func (h txnHeader) append(b []byte) []byte {
	b = h.tid.Append(b)
	b = binary.BigEndian.AppendUint64(b, h.length)
	b = append(b, h.status)
	b = binary.BigEndian.AppendUint16(b, uint16(h.user))
	b = binary.BigEndian.AppendUint16(b, uint16(h.description))
	return binary.BigEndian.AppendUint16(b, uint16(h.extension))
}

// dataHeader is the fixed part of a data record.
//
//	 0  8  oid
//	 8  8  tid, that of the transaction
//	16  8  prev: position of the previous record of this oid, 0 = none
//	24  8  position of the transaction
//	32  2  length of the version, always 0
//	34  8  length of the data
//	42  …  the data; if its length is 0, 8 bytes “back”: position of the record
//	       that has the data, 0 = from here on the object does not exist
type dataHeader struct {
	oid     zodb.OID
	tid     zodb.TID
	prev    uint64
	txn     uint64
	version uint16
	length  uint64
}

const (
	dataHeaderLen = 42
	backLen       = 8
)

func parseDataHeader(b []byte) dataHeader {
	return dataHeader{
		oid:     zodb.OIDFromBytes(b),
		tid:     zodb.TIDFromBytes(b[8:]),
		prev:    binary.BigEndian.Uint64(b[16:]),
		txn:     binary.BigEndian.Uint64(b[24:]),
		version: binary.BigEndian.Uint16(b[32:]),
		length:  binary.BigEndian.Uint64(b[34:]),
	}
}

func (h dataHeader) append(b []byte) []byte {
	b = h.oid.Append(b)
	b = h.tid.Append(b)
	b = binary.BigEndian.AppendUint64(b, h.prev)
	b = binary.BigEndian.AppendUint64(b, h.txn)
	b = binary.BigEndian.AppendUint16(b, h.version)
	return binary.BigEndian.AppendUint64(b, h.length)
}

// body is the number of bytes behind the header.
func (h dataHeader) body() uint64 {
	if h.length == 0 {
		return backLen
	}
	return h.length
}

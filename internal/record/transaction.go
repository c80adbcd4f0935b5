package record

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// TransactionMagic begins every transaction.
	TransactionMagic = "\x47\x40\x07\x76"
	// TransactionHeaderSize is the number of bytes before the user's name.
	TransactionHeaderSize = 60

	statusPacked = 'p' // as in a Data.fs
)

// Offsets in a transaction, see [Transaction].
const (
	transactionLength      = 4
	transactionTID         = 8
	transactionStatus      = 16
	transactionReserved    = 17
	transactionPrevious    = 24
	transactionSum         = 32
	transactionUser        = 48
	transactionDescription = 50
	transactionExtension   = 52
	transactionOIDs        = 54
	transactionVersion     = 58
)

// Transaction is a transaction of class Full.
//
//	offset  length
//	     0       4  magic, TransactionMagic
//	     4       4  length of the file in bytes
//	     8       8  TID
//	    16       1  "p" if Packed, else zero; always zero in files of the original
//	    17       7  zero
//	    24       8  Previous
//	    32      16  checksum of everything from offset 48 on; see [SumKind]
//	    48       2  u, length of User
//	    50       2  d, length of Description
//	    52       2  e, length of Extension
//	    54       4  o, length of OIDs in bytes, a multiple of 8
//	    58       2  zero (length of the version, which ZODB no longer has)
//	    60       u  User
//	    60+u     d  Description
//	    60+u+d   e  Extension
//	    …        o  OIDs
//
// The checksum does not cover the header: pack changes Previous and leaves the
// checksum as it was. The other bytes of the header are compared with known values.
type Transaction struct {
	TID         zodb.TID
	Previous    zodb.TID   // transaction before it; 0 = none
	Packed      bool       // it was packed where it was copied from, so the revisions before it are not known
	User        []byte     // UTF-8, at most zodb.MaxMetaLen bytes, as the next two
	Description []byte     // UTF-8
	Extension   []byte     // a pickled dict, or empty
	OIDs        []zodb.OID // its objects, in the order first stored, without duplicates
}

// Append appends the whole file to dst, with a checksum of a kind. It is an error if a field is too
// long for its length; then dst is returned as it was.
func (t *Transaction) Append(dst []byte, kind SumKind) ([]byte, error) {
	size := TransactionHeaderSize
	for _, m := range []struct {
		name  string
		value []byte
	}{{"user", t.User}, {"description", t.Description}, {"extension", t.Extension}} {
		if len(m.value) > zodb.MaxMetaLen {
			return dst, fmt.Errorf("transaction %s: a %s of %d bytes; the limit is %d", t.TID, m.name, len(m.value), zodb.MaxMetaLen)
		}
		size += len(m.value)
	}
	if int64(len(t.OIDs)) > (math.MaxUint32-int64(size))/8 {
		return dst, fmt.Errorf("transaction %s has objects in the number of %d; the limit is %d", t.TID, len(t.OIDs), (math.MaxUint32-int64(size))/8)
	}
	size += 8 * len(t.OIDs)
	start := len(dst)
	dst = append(dst, TransactionMagic...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	dst = t.TID.Append(dst)
	var status byte
	if t.Packed {
		status = statusPacked
	}
	dst = append(dst, status)
	dst = append(dst, make([]byte, transactionPrevious-transactionReserved)...)
	dst = t.Previous.Append(dst)
	dst = append(dst, make([]byte, sumSize)...)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.User)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Description)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.Extension)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(8*len(t.OIDs)))
	dst = append(dst, 0, 0)
	dst = append(dst, t.User...)
	dst = append(dst, t.Description...)
	dst = append(dst, t.Extension...)
	for _, oid := range t.OIDs {
		dst = oid.Append(dst)
	}
	putSum(kind, dst[start:], transactionSum, transactionUser)
	return dst, nil
}

// ParseTransaction reads any transaction, b being the whole file. User,
// Description and Extension alias b. The path is for errors.
func ParseTransaction(b []byte, path string, checkSum bool) (*Transaction, error) {
	f := file{path: path}
	if err := f.checkStart(b, TransactionMagic, TransactionHeaderSize, int64(len(b))); err != nil {
		return nil, err
	}
	f.tid = zodb.TIDFromBytes(b[transactionTID:])
	return parseTransaction(b, f, checkSum)
}

// ParseTransactionAs reads the transaction that a name promises, b being the
// whole file. The checks come in the order magic, length, tid, checksum, lengths
// of the fields. User, Description and Extension alias b.
func ParseTransactionAs(b []byte, path string, tid zodb.TID, checkSum bool) (*Transaction, error) {
	f := file{path: path, tid: tid}
	if err := f.checkStart(b, TransactionMagic, TransactionHeaderSize, int64(len(b))); err != nil {
		return nil, err
	}
	if got := zodb.TIDFromBytes(b[transactionTID:]); got != tid {
		return nil, f.corrupt(transactionTID, "tid is %s, want %s", got, tid)
	}
	return parseTransaction(b, f, checkSum)
}

// PreviousTransaction reads the tid of the transaction before, out of the header of a file
// that [ParseTransactionAs] refuses because of its other parts. It reports whether the header
// can be believed.
func PreviousTransaction(b []byte, tid zodb.TID) (previous zodb.TID, ok bool) {
	f := file{tid: tid}
	if f.checkStart(b, TransactionMagic, TransactionHeaderSize, int64(len(b))) != nil || zodb.TIDFromBytes(b[transactionTID:]) != tid {
		return 0, false
	}
	previous = zodb.TIDFromBytes(b[transactionPrevious:])
	return previous, previous < tid
}

// parseTransaction reads a file whose start was checked.
func parseTransaction(b []byte, f file, checkSum bool) (*Transaction, error) {
	if checkSum {
		if err := f.checkSum(b, transactionSum, transactionUser); err != nil {
			return nil, err
		}
	}
	u := int64(binary.BigEndian.Uint16(b[transactionUser:]))
	d := int64(binary.BigEndian.Uint16(b[transactionDescription:]))
	e := int64(binary.BigEndian.Uint16(b[transactionExtension:]))
	o := int64(binary.BigEndian.Uint32(b[transactionOIDs:]))
	if v := binary.BigEndian.Uint16(b[transactionVersion:]); v != 0 {
		return nil, f.corrupt(transactionVersion, "length of version is %d, want 0", v)
	}
	if v := b[transactionStatus]; v != 0 && v != statusPacked {
		return nil, f.corrupt(transactionStatus, "status is %d, want 0 or %d", v, statusPacked)
	}
	if o%8 != 0 {
		return nil, f.corrupt(transactionOIDs, "length of the oid list is %d, which is not a multiple of 8", o)
	}
	if sum := TransactionHeaderSize + u + d + e + o; sum != int64(len(b)) {
		return nil, f.corrupt(transactionUser, "fields of %d, %d, %d and %d bytes make a file of %d, but it has %d", u, d, e, o, sum, len(b))
	}
	rest := b[TransactionHeaderSize:]
	t := &Transaction{
		TID:         zodb.TIDFromBytes(b[transactionTID:]),
		Previous:    zodb.TIDFromBytes(b[transactionPrevious:]),
		Packed:      b[transactionStatus] == statusPacked,
		User:        rest[:u:u],
		Description: rest[u : u+d : u+d],
		Extension:   rest[u+d : u+d+e : u+d+e],
		OIDs:        make([]zodb.OID, o/8),
	}
	rest = rest[u+d+e:]
	for i := range t.OIDs {
		t.OIDs[i] = zodb.OIDFromBytes(rest[8*i:])
	}
	return t, nil
}

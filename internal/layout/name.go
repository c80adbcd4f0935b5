package layout

import (
	"github.com/dirstorage/dirstorage/zodb"
)

// Kind is the kind of a database file. The zero Kind is none of them.
type Kind uint8

// The kinds of database files.
const (
	KindPointer     Kind = iota + 1 // serial of the current revision of an object
	KindRevision                    // one revision of an object
	KindObject                      // an object of class Minimal, which has one revision only
	KindTransaction                 // user, description and oids
	KindBlob                        // the blob of a revision
	KindXOID                        // x.oid: the highest oid handed out
	KindXSerial                     // x.serial: the last transaction
	KindXPacked                     // x.packed: the latest pack time
)

// Name is a database name. It is comparable; fields that a Kind does not use are zero.
type Name struct {
	Kind Kind
	OID  zodb.OID // pointer, revision, object, blob
	TID  zodb.TID // revision, transaction, blob
}

// The marks of the database. Nothing changes these variables.
var (
	XOID    = Name{Kind: KindXOID}
	XSerial = Name{Kind: KindXSerial}
	XPacked = Name{Kind: KindXPacked}
)

// Pointer names the file that says which revision of an object is current.
func Pointer(oid zodb.OID) Name { return Name{Kind: KindPointer, OID: oid} }

// Revision names the file of one revision of an object (class Full).
func Revision(oid zodb.OID, tid zodb.TID) Name { return Name{Kind: KindRevision, OID: oid, TID: tid} }

// Object names the file of an object (class Minimal).
func Object(oid zodb.OID) Name { return Name{Kind: KindObject, OID: oid} }

// Transaction names the file of a transaction (class Full).
func Transaction(tid zodb.TID) Name { return Name{Kind: KindTransaction, TID: tid} }

// Blob names the file of the blob that belongs to a revision.
func Blob(oid zodb.OID, tid zodb.TID) Name { return Name{Kind: KindBlob, OID: oid, TID: tid} }

const (
	blobSuffix    = ".blob"
	deletedSuffix = "-deleted"

	oidHead = 1 + 16 // length of “o” and the oid
	tidHead = 1 + 6  // length of “t” and the first part of the tid
	maxName = oidHead + 1 + 16 + len(blobSuffix)
	maxPath = maxName + 10 // the addition of Bundled to a name; bushy has 7 slashes in an oid
)

// String returns the database name, the same as [Flat]'s path.
func (n Name) String() string {
	var buf [maxName]byte
	return string(n.append(buf[:0]))
}

// append appends the database name to b; nothing for the zero Name.
func (n Name) append(b []byte) []byte {
	b = n.appendHead(b)
	if n.Kind == KindObject || n.Kind == 0 {
		return b
	}
	return n.appendRest(append(b, '.'))
}

// appendHead appends the part before the first dot.
func (n Name) appendHead(b []byte) []byte {
	switch n.Kind {
	case KindPointer, KindRevision, KindObject, KindBlob:
		return appendHex(append(b, 'o'), uint64(n.OID), 16)
	case KindTransaction:
		return appendHex(append(b, 't'), uint64(n.TID)>>40, 6)
	case KindXOID, KindXSerial, KindXPacked:
		return append(b, 'x')
	}
	return b
}

// appendRest appends the part after the first dot.
func (n Name) appendRest(b []byte) []byte {
	switch n.Kind {
	case KindPointer:
		return append(b, 'c')
	case KindRevision:
		return appendHex(b, uint64(n.TID), 16)
	case KindBlob:
		return append(appendHex(b, uint64(n.TID), 16), blobSuffix...)
	case KindTransaction:
		return appendHex(b, uint64(n.TID), 10)
	case KindXOID:
		return append(b, "oid"...)
	case KindXSerial:
		return append(b, "serial"...)
	case KindXPacked:
		return append(b, "packed"...)
	}
	return b
}

// ParseName is the inverse of [Name.String]. It accepts nothing else: lower-case
// digits, as in “o00000000000000ff.c”, make no database name.
func ParseName(s string) (Name, bool) {
	if len(s) > maxName {
		return Name{}, false
	}
	var buf [maxName]byte
	return parseName(append(buf[:0], s...))
}

// ParseNameBytes is ParseName of bytes.
func ParseNameBytes(b []byte) (Name, bool) { return parseName(b) }

// parseName works on bytes because a string made of them would be an allocation
// for each file of a walk.
func parseName(b []byte) (Name, bool) {
	if len(b) == 0 {
		return Name{}, false
	}
	switch b[0] {
	case 'o':
		return parseObjectName(b)
	case 't':
		return parseTransactionName(b)
	}
	switch string(b) {
	case "x.oid":
		return XOID, true
	case "x.serial":
		return XSerial, true
	case "x.packed":
		return XPacked, true
	}
	return Name{}, false
}

func parseObjectName(b []byte) (Name, bool) {
	if len(b) < oidHead {
		return Name{}, false
	}
	oid, ok := parseHex(b[1:oidHead])
	if !ok {
		return Name{}, false
	}
	rest := b[oidHead:]
	switch {
	case len(rest) == 0:
		return Object(zodb.OID(oid)), true
	case string(rest) == ".c":
		return Pointer(zodb.OID(oid)), true
	case rest[0] != '.' || len(rest) < 1+16:
		return Name{}, false
	}
	tid, ok := parseHex(rest[1 : 1+16])
	switch suffix := rest[1+16:]; {
	case ok && len(suffix) == 0:
		return Revision(zodb.OID(oid), zodb.TID(tid)), true
	case ok && string(suffix) == blobSuffix:
		return Blob(zodb.OID(oid), zodb.TID(tid)), true
	}
	return Name{}, false
}

func parseTransactionName(b []byte) (Name, bool) {
	if len(b) != tidHead+1+10 || b[tidHead] != '.' {
		return Name{}, false
	}
	high, ok := parseHex(b[1:tidHead])
	low, ok2 := parseHex(b[tidHead+1:])
	if !ok || !ok2 {
		return Name{}, false
	}
	return Transaction(zodb.TID(high<<40 | low)), true
}

// appendHex appends the last digits of v.
func appendHex(b []byte, v uint64, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, "0123456789ABCDEF"[v>>shift&15])
	}
	return b
}

// parseHex reads upper-case digits, at most 16 of them.
func parseHex(b []byte) (uint64, bool) {
	var v uint64
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}

package record

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// ObjectMagic begins every revision of an object.
	ObjectMagic = "\xbd\xb8\x2a\x71"
	// ObjectHeaderSize is the number of bytes before the data of a revision.
	ObjectHeaderSize = 72
	// MaxData is the largest number of bytes of data that a revision can hold; the
	// length of the file has 32 bits.
	MaxData = math.MaxUint32 - ObjectHeaderSize
)

// Offsets in a revision, see [Object].
const (
	objectLength   = 4
	objectOID      = 8
	objectUndoFrom = 16
	objectBlobSum  = 24
	objectSum      = 40
	objectPrevious = 56
	objectSerial   = 64
)

// Object is one revision of an object, the only one in class Minimal.
//
//	offset  length
//	     0       4  magic, ObjectMagic
//	     4       4  length of the file in bytes
//	     8       8  OID
//	    16       8  UndoFrom
//	    24      16  BlobSum; always zero in files of the original
//	    40      16  checksum of everything from offset 56 on; see [SumKind]
//	    56       8  Previous
//	    64       8  Serial
//	    72       …  Data
type Object struct {
	OID      zodb.OID
	UndoFrom zodb.TID // serial of the older revision that an undo copied the data from; else 0
	BlobSum  BlobSum  // of the bytes of the blob; zero = there is no blob
	Previous zodb.TID // serial of the revision before this one; 0 = none
	Serial   zodb.TID // transaction that wrote this revision
	Data     []byte   // ZODB's two pickles; empty: see Gone
}

// HasBlob reports whether a blob belongs to the revision.
func (o *Object) HasBlob() bool { return !o.BlobSum.IsZero() }

// Gone reports whether there is no data. In class Full that means that the
// object does not exist from this transaction on, because its creation was
// undone or it was deleted. In class Minimal it means nothing.
func (o *Object) Gone() bool { return len(o.Data) == 0 }

// checkSize returns an error if a revision can't hold n bytes of data.
func checkSize(n int64) error {
	if n > MaxData {
		return fmt.Errorf("a record of %d bytes; the limit is %d", n, int64(MaxData))
	}
	return nil
}

// Append appends the whole file to dst, with a checksum of a kind. The error is that of
// checkSize; then dst is returned as it was.
func (o *Object) Append(dst []byte, kind SumKind) ([]byte, error) {
	if err := checkSize(int64(len(o.Data))); err != nil {
		return dst, fmt.Errorf("object %s: %w", o.OID, err)
	}
	start := len(dst)
	dst = append(dst, ObjectMagic...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(ObjectHeaderSize+len(o.Data)))
	dst = o.OID.Append(dst)
	dst = o.UndoFrom.Append(dst)
	dst = append(dst, o.BlobSum[:]...)
	dst = append(dst, make([]byte, sumSize)...)
	dst = o.Previous.Append(dst)
	dst = o.Serial.Append(dst)
	dst = append(dst, o.Data...)
	putSum(kind, dst[start:], objectSum, objectPrevious)
	return dst, nil
}

// ParseObject reads a revision of any object, b being the whole file. Data
// aliases b. The path is for errors.
func ParseObject(b []byte, path string, checkSum bool) (*Object, error) {
	f := file{path: path}
	if err := f.checkStart(b, ObjectMagic, ObjectHeaderSize, int64(len(b))); err != nil {
		return nil, err
	}
	return ParseObjectAs(b, path, zodb.OIDFromBytes(b[objectOID:]), 0, checkSum)
}

// ParseObjectAs reads the revision of an object that its name promises, b being
// the whole file. A serial of 0 stands for any, as in class Minimal. The checks
// come in the order of the original, so that both name the same one of many
// defects: magic, length, oid, checksum, serial. Data aliases b.
func ParseObjectAs(
	b []byte, path string, oid zodb.OID, serial zodb.TID, checkSum bool,
) (*Object, error) {
	// Short, so that it is inlined, and the object needs no memory of the heap in most callers.
	return new(Object).parse(b, path, oid, serial, checkSum)
}

// parse is ParseObjectAs, into o, which it returns.
func (o *Object) parse(
	b []byte, path string, oid zodb.OID, serial zodb.TID, checkSum bool,
) (*Object, error) {
	f := file{path, oid, serial}
	if err := f.checkStart(b, ObjectMagic, ObjectHeaderSize, int64(len(b))); err != nil {
		return nil, err
	}
	*o = *objectHeader(b)
	if o.OID != oid {
		return nil, f.corrupt(objectOID, "oid is %s, want %s", o.OID, oid)
	}
	if serial == 0 {
		f.tid = o.Serial // the best that an error can tell
	}
	if checkSum {
		if err := f.checkSum(b, objectSum, objectPrevious); err != nil {
			return nil, err
		}
	}
	if serial != 0 && o.Serial != serial {
		return nil, f.corrupt(objectSerial, "serial is %s, want %s", o.Serial, serial)
	}
	o.Data = b[ObjectHeaderSize:]
	return o, nil
}

// ParseObjectHeader reads the header, of a file of which only the
// beginning, b of at least ObjectHeaderSize bytes, was read. The size is that of
// the whole file. It checks magic and length, but not the checksum. Data is nil,
// so Gone of the result means nothing; dataLen is their number in the file.
func ParseObjectHeader(b []byte, size int64, path string) (o *Object, dataLen int64, err error) {
	if err := (file{path: path}).checkStart(b, ObjectMagic, ObjectHeaderSize, size); err != nil {
		return nil, 0, err
	}
	return objectHeader(b), size - ObjectHeaderSize, nil
}

func objectHeader(b []byte) *Object {
	return &Object{
		OID:      zodb.OIDFromBytes(b[objectOID:]),
		UndoFrom: zodb.TIDFromBytes(b[objectUndoFrom:]),
		BlobSum:  BlobSum(b[objectBlobSum:]),
		Previous: zodb.TIDFromBytes(b[objectPrevious:]),
		Serial:   zodb.TIDFromBytes(b[objectSerial:]),
	}
}

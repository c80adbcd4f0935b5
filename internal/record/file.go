package record

import (
	"encoding/binary"
	"fmt"

	"github.com/dirstorage/dirstorage/zodb"
)

// file has the facts about a file that its errors name.
type file struct {
	path string
	oid  zodb.OID
	tid  zodb.TID
}

// corrupt makes the error about the field at an offset.
func (f file) corrupt(offset int64, format string, args ...any) error {
	return &zodb.CorruptError{Path: f.path, OID: f.oid, TID: f.tid, Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// checkStart checks magic and length, which revisions and transactions have in
// the same place, and that b holds the header. The size is that of the whole file.
func (f file) checkStart(b []byte, magic string, headerSize int, size int64) error {
	if got := b[:min(len(b), len(magic))]; string(got) != magic {
		return f.corrupt(0, "magic is % X, want % X", got, magic)
	}
	if size < int64(headerSize) || len(b) < headerSize {
		return f.corrupt(0, "file has %d bytes, its header alone needs %d", min(size, int64(len(b))), headerSize)
	}
	if length := binary.BigEndian.Uint32(b[objectLength:]); int64(length) != size {
		return f.corrupt(objectLength, "length field is %d, but the file has %d bytes", length, size)
	}
	return nil
}

// checkSum compares the checksum at an offset with the bytes from another one on.
func (f file) checkSum(b []byte, at, from int) error {
	if fault := sumFault(b[at:at+sumSize], b[from:]); fault != "" {
		return f.corrupt(int64(at), "%s", fault)
	}
	return nil
}

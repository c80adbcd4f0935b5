package record

import (
	"encoding/binary"

	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// pointerMagic begins pointers that very old releases of the original wrote.
	pointerMagic = "\x0b\xfe\xe8\xec"
	// PointerSize is the size in bytes of a pointer.
	PointerSize = 8
	// oldPointerSize is the size in bytes of a pointer with pointerMagic.
	oldPointerSize = 12
	// xSize is the size in bytes of x.oid, x.serial and x.packed.
	xSize = 8
)

// AppendPointer appends the file that says which revision of an object is current.
//
//	offset  length
//	     0       8  serial of the current revision
func AppendPointer(dst []byte, serial zodb.TID) []byte { return serial.Append(dst) }

// ParsePointer reads a pointer, b being the whole file, in the form that
// AppendPointer writes or in the old one, pointerMagic and the serial. Path and
// oid are for errors.
func ParsePointer(b []byte, path string, oid zodb.OID) (zodb.TID, error) {
	f := file{path: path, oid: oid}
	switch len(b) {
	case PointerSize:
		return zodb.TIDFromBytes(b), nil
	case oldPointerSize:
		if magic := b[:len(pointerMagic)]; string(magic) != pointerMagic {
			return 0, f.corrupt(0, "magic is % X, want % X", magic, pointerMagic)
		}
		return zodb.TIDFromBytes(b[len(pointerMagic):]), nil
	}
	return 0, f.corrupt(0, "pointer has %d bytes, want %d or %d", len(b), PointerSize, oldPointerSize)
}

// AppendX appends x.oid, x.serial or x.packed: an oid, or a tid, of 8 bytes.
func AppendX(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

// ParseX reads x.oid, x.serial or x.packed, b being the whole file. The path is
// for errors.
func ParseX(b []byte, path string) (uint64, error) {
	if len(b) != xSize {
		return 0, file{path: path}.corrupt(0, "file has %d bytes, want %d", len(b), xSize)
	}
	return binary.BigEndian.Uint64(b), nil
}

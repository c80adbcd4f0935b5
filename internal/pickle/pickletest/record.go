// Package pickletest makes the records of objects, for tests. Its functions may be called
// concurrently.
package pickletest

import (
	"encoding/binary"

	"github.com/dirstorage/dirstorage/zodb"
)

// Record is the record of a persistent mapping with some data and strong references.
func Record[T ~string | ~[]byte](data T, refs ...zodb.OID) []byte {
	b := []byte("\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.\x80\x03(")
	for _, oid := range refs {
		b = append(append(append(b, "C\x08"...), oid.Bytes()...), 'Q')
	}
	b = binary.LittleEndian.AppendUint32(append(b, 'T'), uint32(len(data)))
	return append(append(b, data...), "t."...)
}

package pack

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/dirstorage/dirstorage/zodb"
)

// Everything stands for all objects in the file of spared objects.
const Everything = ^zodb.OID(0)

// sparedSize is the size of one record of the file of spared objects: an oid, the
// CRC-32C of it, and 4 bytes that are zero.
const sparedSize = 16

func appendSpared(b []byte, oids []zodb.OID) []byte {
	for _, oid := range oids {
		b = oid.Append(b)
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(oid.Bytes(), castagnoli()))
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// parseSpared reads the spared objects. A torn record belongs to a transaction that was
// not finished.
func parseSpared(b []byte) (oids []zodb.OID) {
	for ; len(b) >= sparedSize; b = b[sparedSize:] {
		if binary.BigEndian.Uint32(b[8:]) != crc32.Checksum(b[:8], castagnoli()) {
			break
		}
		oids = append(oids, zodb.OIDFromBytes(b[:8]))
	}
	return oids
}

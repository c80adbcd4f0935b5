// Package filestorage reads and writes Data.fs, the file of ZODB's FileStorage,
// as a stream of transactions. It is used to import and export databases; it is
// no storage.
//
// A [Reader] goes through a file from the start, or from a [Position], and holds
// one record in memory at a time. It believes nothing that it can check: a wrong
// length, position, tid or pointer is a *zodb.CorruptError with the offset. The
// end of a file may be torn, because ZODB writes in place; reading stops there
// as ZODB does, and [Reader.Truncated] tells where. A wrong length of the
// last transaction is told from that by its other length (lengths.go).
//
// A [Writer] makes a new file, byte for byte as ZODB writes when it copies the
// same transactions. It keeps the position of each object's newest record, about
// 16 to 40 bytes an object, and nothing else.
//
// All integers in the file are big-endian and unsigned, all positions count from
// its start. The layout:
//
//	0  4  magic: FS30 (Python 3), FS21 (Python 2)
//	4  …  transactions, one after the other, to the end
//
// An empty file is a storage without transactions. See header.go for the rest.
package filestorage

// Package record turns the bytes of database files into structs and back:
// revisions of objects, transactions, pointers, and the marks x.oid, x.serial
// and x.packed. Its functions are pure and may be called concurrently.
//
// All numbers are big-endian and unsigned. The layouts are those of the Python
// original (docs/format.md), byte for byte, but for the sum of a blob in 16
// bytes that the original keeps zero, and for checksums of another kind than
// MD5, which it does not know.
//
// Every parser checks the oid, tid, lengths and checksum in the file before it returns
// anything. A mismatch is a *zodb.CorruptError that names the field and both
// values; its Offset is that of the field. A parser never copies: the
// byte slices of its result alias the argument.
//
// A checksum is an MD5, an XXH64, or 16 zero bytes: none was computed, as with
// md5policy/write = 0. Each kind is accepted in every file; see [SumKind].
package record

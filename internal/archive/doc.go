// Package archive writes and reads the files that a backup consists of: a tar in zstd, and beside
// it an index of its entries.
//
// # The archive
//
// An ordinary tar (ustar, with pax records where that is too narrow), which
// “tar --zstd -xf” extracts. It is compressed in frames of some 4 MiB of tar each,
// one after the other, as RFC 8878 allows. A frame ends between two entries,
// except within an entry that is larger than a frame; such an entry has its
// frames for itself. So a reader can start at any frame that begins with an
// entry, and frames are compressed side by side.
//
// # The index
//
// JSON, one document a line, in zstd (“zstd -dc”). Two kinds of lines:
//
//	{"name":"A/x/oid","size":8,"sha256":"…","at":0}
//	{"frame":{"at":0,"offset":0,"size":1234,"start":true}}
//
// The first describes an entry, in the order of the archive: its path relative
// to HOME, the bytes and the SHA-256 of its content, and where its header is in
// the tar; a directory has "dir":true and no more. The second describes a frame:
// where it begins in the tar and in the archive, its size there, and whether it
// begins with the header of an entry. Lines of frames are in order too, and may
// lie anywhere between those of entries.
package archive

// Package bundle writes and reads sealed bundles: files that hold all that a range of
// transactions wrote. docs/format.md has every byte.
//
// A bundle is a tar of database files under their database names, in order of tid: the
// revisions of a transaction, then the transaction. The tar is cut into frames of zstd that
// hold whole members, each of which can be decoded alone. Behind the tar lies, in skippable
// frames that other tools pass over, an index: where each revision and each transaction is, and
// where each frame is. A footer of fixed size ends the file.
//
//	tar --zstd -xf BUNDLE      shows every revision as an ordinary file
//
// # Checks
//
// A frame has two checksums: that of zstd covers the decoded content, and the table of frames has
// one of the bytes on the disk, so that a frame can be copied without being decoded. Each block
// of the index has one, which is checked whenever the block is read, and so have the fences, which
// say where the blocks are, when the file is opened; the footer has the SHA-256 of the whole index. A reader of a member compares
// its name and its length with its entry. A mismatch is a *zodb.CorruptError.
//
// # Concurrency
//
// A [Writer] is used by one goroutine. The methods of a [Reader] may be called concurrently.
package bundle

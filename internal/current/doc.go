// Package current is a table on the disk that says for each object where its current revision
// is. It is derived: its owner can make it again, and does so when [Open] finds it missing,
// damaged, or about another database.
//
// Objects with oids that are near to each other share a page of 15 slots, so that the table is
// one read for a lookup. In memory are a list of pages, 16 bytes for neighbours, and 4 bytes for
// each page: its version, which counts its writes. A page that is damaged, or has a lower version,
// because the disk has lost a write, is an error that matches ErrDamaged for each object of it; the
// caller looks elsewhere. Each slot has a checksum of its own, which covers the oid: the slots of
// such a page stay damaged until they are put again.
//
// # After a crash
//
// The table says up to which transaction everything is in it, [Table.UpTo]. Slots may be newer.
// After an open the later revisions are put again.
package current

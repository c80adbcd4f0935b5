// Package current is a table on the disk that says for each object where its current revision
// is. It is derived: its owner can make it again, and does so when [Open] finds it missing,
// damaged, or about another database.
//
// Objects with oids that are near to each other share a page of 64 slots, so that the table is
// one read for a lookup and nothing in memory but a list of pages: 20 bytes for 64 objects.
//
// Each slot has a checksum of its own, which covers the oid. A slot that is damaged is an
// error that matches ErrDamaged; the caller looks elsewhere, and puts it again.
//
// # After a crash
//
// The table says up to which transaction everything is in it, [Table.UpTo]. Slots may be newer.
// After an open the later revisions are put again.
package current

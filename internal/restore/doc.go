// Package restore makes a HOME of backups: of the newest, of any other, or of
// any transaction in between.
//
// The new HOME grows in TARGET.restoring, beside the target, and gets its name
// when it is whole, durable and checked. So a target is never half of anything.
// The work of a killed restore is used by the next one of the same plan: every now and
// then everything is made durable, and TARGET.restoring/misc/restore.json says how far it
// is.
//
// # To a transaction in the middle
//
// All backups of the chain but the last are unpacked whole. Of the last one,
// revisions, blobs and transactions are unpacked that are not later than the
// transaction wanted. Then the pointers of the objects concerned are set to the
// newest revision that is there. The revisions left out prove that this one was current:
// each names the one before it. If pack took one of those in between, before they were
// backed up, the restore is refused.
package restore

// Package tree owns the two database directories of a HOME, A and B: it puts
// batches of files into one of them, makes them durable, reads through B to A,
// and moves B into A after a snapshot.
//
// Who may do what: one goroutine at a time flushes or recombines; any number
// may read meanwhile. A reader looks at B first and then at A. Because a file
// moves only from B to A, and by rename, such a reader never misses the newest.
//
// The rules that everything here serves:
//
//   - Write once. A file below A is never changed in place. Revisions,
//     transactions and blobs are created under names that are new; pointers and
//     the x files are written aside in journal/ and renamed over the old ones.
//     So A never holds a temporary file, and hard links made of a snapshot stay good.
//   - A crash between Create and Sync may leave a name in A or B with wrong
//     content. The journal still has the transactions of that batch then, and
//     flushing it again replaces whatever is there. x.serial is written only
//     after all the rest of the batch is durable; so a transaction that is not
//     later than x.serial is whole.
//   - Time stamps. Each file that is put here gets a time of modification that
//     is not earlier than the floor, the moment at which the last snapshot was
//     asked for, also when the clock was stepped back since. A move keeps the
//     time. So what an incremental copy by time finds is complete.
package tree

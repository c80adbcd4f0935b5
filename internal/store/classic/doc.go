// Package classic owns the two database directories of a HOME, A and B: it puts
// batches of files into one of them, makes them durable, reads through B to A,
// and moves B into A after a snapshot.
//
// Concurrency: one goroutine at a time flushes or recombines; any number
// may read meanwhile. A reader looks at B first and then at A. Because a file
// moves only from B to A, and by rename, such a reader never misses the newest.
//
// The rules that everything here serves:
//
//   - Write once. A file below A is never changed in place. Revisions,
//     transactions and blobs are created under names that are new; pointers and
//     the x files are written aside in journal/ and renamed over the old ones.
//     So A never holds a temporary file, and hard links made of a snapshot stay good.
//   - Three contracts, three types. [Redo] puts files that the log can make again: a crash
//     between Create and Sync may leave a name in A or B with wrong content, the
//     journal still has the transactions of that batch then, and flushing it again
//     replaces them. [Edit] puts files that nothing can make again: contents are durable
//     before they have their names. [Store.SetMark] puts an x file, alone: all the rest is
//     durable before; so a transaction that is not later than x.serial is whole.
//   - Debts. A change of a name (made, renamed, removed) is owed until a sync succeeded,
//     also when the batch failed and is repeated by another one: see [Store.SyncFound]
//     for the debts of another process. A sync that failed is never made good by the
//     next: contents are written anew, and a failed sync of names ends all writing, if it
//     is not about room.
//   - Time stamps. Each file that is put here gets a time of modification that
//     is that of the clock, or the floor if that is later, which is above all times before the
//     last snapshot. So a clock that is stepped back does no harm, nor one of the file system. It has it before it has
//     its name; only a file that is created in place may be seen without, if the process
//     is killed meanwhile, and that one is put again. A move keeps the time. So an
//     incremental copy by time is complete.
package classic

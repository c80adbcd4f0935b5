// Package state holds the knowledge of an open storage about itself, in memory, behind one
// lock: which transactions are in the journal and not flushed yet, the last and the last
// flushed transaction, the counts, the snapshot mode, the reason for which nothing can be
// written, the work of the worker, and the promises of room and memory.
//
// The lock is private. Each method is one critical section, and its comment states its
// promise; things that have to change together change in one method. No method reads or
// writes files or the log while the lock is held: it is held for moments only. All methods
// may be called concurrently, those of the open excepted, which say so.
//
// Three changes carry the rest:
//
//   - [State.Publish] makes transactions visible, after they are durable in the journal.
//   - [State.Flushed] forgets transactions, after their files are durable in A or B.
//   - [State.Fail] makes the storage read-only for good.
//
// A table determines the next job of the worker: see situation.
package state

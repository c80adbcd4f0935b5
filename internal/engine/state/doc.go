// Package state holds what an open storage knows about itself in memory, behind one lock:
// which transactions are in the journal and not flushed yet, the last and the last flushed
// transaction, the counts, the snapshot mode, why nothing can be written, what the worker
// has to do, and how much room and memory is promised to whom.
//
// The lock is private. Each method is one critical section, and its comment says what it
// promises; what has to change as one changes in one method. No method reads or writes
// files or the log while the lock is held: it is held for moments only. All methods may be
// called concurrently, those of the open excepted, which say so.
//
// Three changes carry the rest:
//
//   - [State.Publish] makes transactions visible, after they are durable in the journal.
//   - [State.Flushed] forgets transactions, after their files are durable in A or B.
//   - [State.Fail] makes the storage read-only for good.
//
// What the worker does next is a table: see situation.
package state

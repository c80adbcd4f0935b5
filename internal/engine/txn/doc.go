// Package txn holds the open transactions, and commits them.
//
// [Manager.Begin] makes a [Txn]. Its records wait in a spool, its blobs in files of the
// journal's directory. [Txn.Vote] locks the objects, compares serials, passes the guard of
// packs, and appends the transaction to the journal. [Txn.Finish] puts it into the queue of
// the committer, one goroutine, which numbers a batch, makes its commit frames durable with
// one fdatasync, and publishes it to package state: see [Manager.commit].
//
// Locks are taken in this order: the mutex of a Txn, the lock table of objects (held from vote
// to finish), the turn of a transaction with a given tid (see givenTID), the mutex of the
// queue. Nothing is logged or read under the last one.
package txn

// Package transfer copies databases between a Data.fs and a storage: whole,
// with their blobs, tids, undo records, user names and descriptions. A storage
// on a running ZEO server can be copied too, and followed.
//
// All go transaction by transaction, in the order of the tids, and
// hold one transaction at a time in memory; of a source that is a storage, and of the two that are
// compared, a bounded amount of records is read ahead. An import that was interrupted goes
// on where it stopped, because the transactions that are there already say
// where that was; it makes sure that the last of them is the source's own.
package transfer

// Package read reads committed transactions: loads, histories, transactions, blobs, the undo log.
//
// Each read goes the way of a record backwards: first the index of unflushed transactions
// (package state) with the journal, then the cache of current revisions, then the store. A
// record may be on its way from one to the next meanwhile, so each read is validated: one that
// fails is repeated if the index has changed since it began.
//
// [Direct] is the same past the cache, for a pack.
package read

// Package dirstorage is a storage for ZODB databases that keeps them below HOME/A in ordinary
// files that never change, tars of many revisions or a file for each, with a write-ahead log in
// HOME/journal and a snapshot mode: on request A stands still as a coherent
// snapshot, while the storage goes on reading and writing into the journal and
// HOME/B. A backup is then a copy of ordinary files.
//
// [Create] makes a HOME, [Open] opens it; package zodb has the types of arguments, results
// and errors. All ids are eight bytes; sizes are in bytes; ranges of tids include both ends.
//
// A transaction goes through Begin, any number of stores, Vote and Finish (or Abort), as in
// ZODB's two-phase commit (ZODB.interfaces.IStorage). The fdatasync that Finish waits for is
// the commit point: docs/operation.md has the rules, docs/format.md the files.
package dirstorage

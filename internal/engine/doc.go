// Package engine is a storage for ZODB databases that keeps one ordinary
// file for each revision of each object below HOME/A, with a write-ahead log
// in HOME/journal and a snapshot mode: on request A stands still as a coherent
// snapshot, while the storage goes on reading and writing into the journal
// and HOME/B. A backup is then a copy of ordinary files.
//
//	if err := engine.Create("/srv/zodb", engine.CreateOptions{}); err != nil { … }
//	s, err := engine.Open(ctx, "/srv/zodb", engine.Options{})
//	…
//	oids, err := s.NewOIDs(1)
//	txn, err := s.Begin(ctx, zodb.TxnMeta{User: []byte("admin")}, engine.BeginOptions{})
//	err = txn.Store(oids[0], 0, record)
//	err = txn.Vote(ctx)
//	tid, err := txn.Finish(ctx, nil)
//
// # The commit point
//
// Vote writes a transaction into the log and locks its objects; Finish queues a
// small commit record. One goroutine, the committer, takes the queue, gives each
// transaction its tid in order, appends the commit records and makes them durable with
// one fdatasync. That fdatasync is the commit point. Then the committer publishes in the
// order of the tids. See Finish in package txn.
//
// # After the commit
//
// A second goroutine, the worker, turns committed transactions into files of A
// (of B during a snapshot), makes these durable, and only then gives the space
// in the log back. The same goroutine enters snapshots and moves B into A after
// them, so that these never run into each other.
//
// # Recovery
//
// Open rolls forward after a crash: it reads the log, takes a transaction
// whose commit record is there as committed, and leaves it to the worker to
// flush it again. Remains of an interrupted flush in A are replaced. B is
// moved into A by the worker. Until that is done reads go through the log to B
// and then to A, so Open need not wait for it. See recover.go.
//
// # Order of locks
//
// The lock table of objects (held from vote to finish), then the turn of a transaction
// with a given tid (givenTID), then modeMu of package
// flush, then that of package state, which is its own: nothing that waits, reads files or
// writes to the log is done under it.
//
// # Rooms
//
// Package home is the directory with its settings and its lock. Package state has the knowledge of
// the storage in memory, with the table of the worker's jobs. Package read reads, package cache
// keeps current revisions, package space watches the room on the disk, package packing packs and
// undeletes, package txn commits, package flush has the worker and snapshot mode, package lineage
// tells a HOME from its copies. They do not know this package, which creates, opens and recovers a
// storage and puts them together.
package engine

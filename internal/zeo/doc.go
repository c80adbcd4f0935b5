// Package zeo is the network server: unmodified Python ZEO 5 and 6 clients use
// a DirectoryStorage through it. The protocol is that of ZEO 5, in both encodings.
//
//	srv, err := zeo.New(zeo.Options{Storages: []zeo.StorageOptions{{Name: "1", Storage: s}}, Clock: time.Now})
//	go srv.Serve(listener)
//	…
//	err = srv.Shutdown(ctx)
//
// # Promises to clients
//
// A client keeps a cache and believes the server: a record that was sent
// as current is current until an invalidation says otherwise. So these rules
// hold on each connection, where “sent” means: put into its outbox.
//
//   - Announcements (invalidations and the answers to own commits) come in the
//     order of the tids, each transaction once, also one that changed nothing.
//   - No answer that shows a revision as the current one is sent after an
//     announcement that this object changed later.
//   - An announced transaction can be read, its blobs included.
//   - Others are told of a transaction before its committer is, and he before the
//     locks of the transaction are given back.
//   - Registering, and asking for missed transactions, are one step with respect to
//     announcements.
//
// All of it is in hub.go, announce.go and sight.go: the hub of a storage has one lock, held exclusively
// while a transaction is announced and shared while an answer is put into an outbox after
// a look at the announcements. Nothing waits and no file is read under it: a load reads
// first, and is done again if it was overtaken.
//
// # Goroutines
//
// Each connection has a reader, which itself answers requests that need no disk, and does
// the steps of transactions in the order in which they came; and a writer for the
// messages that others put into the outbox. A slow request (reads from the disk, votes,
// finishes, blobs, logs) has a separate goroutine, which also sends the answer. The
// engine's committer announces, one transaction after the other; sending that is left to
// the first finish that returns, see hub.spread.
//
// The work of a transaction is used by one of them at a time, which has it from the stage of
// the transaction (package stage): the reader while the client sends its steps, the goroutine
// of its vote, and that of its finish. See txn.go.
//
// A pack is the server's own and has a goroutine there; no connection waits for it when it ends.
//
// # Order of locks
//
// Server.mu, the lock of a stage's work, conn.mu (which transaction a connection has), that of a
// stage's state; then hub.mu, then outbox.mu. The committer takes hub.mu and outbox.mu only.
//
// Nothing that a client sends is executed: pickles are parsed, never run.
package zeo

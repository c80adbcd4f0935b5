// Package zeoclient is a client of the ZEO 5 protocol, for tests, tools and
// measurements: copying a live storage, watching it, loading it with work. It
// speaks with this project's server and with Python's, in both encodings, over
// TCP, TLS and Unix sockets.
//
//	c, err := zeoclient.Dial(ctx, zeoclient.Options{Address: "127.0.0.1:8100"})
//	defer c.Close()
//	rev, err := c.LoadBefore(ctx, oid, zodb.MaxTID)
//	txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
//	err = txn.Store(oid, rev.Serial, data)
//	resolved, conflicts, err := txn.Vote(ctx)
//	tid, err := txn.Finish(ctx, nil)
//
// A Client is one connection. When that ends, it is over: a caller that wants to go on dials again.
// Any number of goroutines may call; their messages are collected while a write is under way, and
// answered in any order.
//
// # One reader
//
// One goroutine reads. It runs the callbacks (OnInvalidate, the published of
// Finish) in the order in which the server sent the messages behind them; a client's cache is built
// upon that order. They must be quick, and must not call the server. An announcement that does not
// come later than the one before ends the connection with a *ProtocolError: clients rely on that
// order.
//
// # Errors
//
// An error that the server answers is a *ServerError, which wraps the matching error of package
// zodb, if any: errors.Is(err, zodb.ErrNotFound) works as with the engine.
package zeoclient

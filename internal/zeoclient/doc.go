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
// A Client is one connection. When that ends, it is over: whoever wants to go
// on dials again. Any number of goroutines may call; what they send is
// collected while a write is under way, and answered in any order.
//
// # One reader
//
// One goroutine reads. It runs the callbacks (OnInvalidate, the published of
// Finish) in the order in which the server sent what they tell of, so what
// they see is what a client's cache is built upon; they must be quick, and must not call
// the server. An announcement that does not come later than the one before
// ends the connection with a *ProtocolError: it is what clients rely on.
//
// # Errors
//
// What the server answers instead of a result is a *ServerError, which wraps the
// error of package zodb where there is one: errors.Is(err, zodb.ErrNotFound)
// works as with the engine.
package zeoclient

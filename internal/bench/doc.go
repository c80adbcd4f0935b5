// Package bench measures a ZEO server from outside: loads, commits, both
// together, commits over a long time, blobs.
//
// The server under test usually runs on the same machine, so the cost of this program is taken from
// it. Loads therefore don't go through [zeoclient.Client]: one goroutine for each connection writes
// requests from a template, as many at once as answers have come in, and looks only at the few
// bytes of an answer that tell whose it is. It allocates nothing for a load.
//
// All objects are new ones, whose oids the server gave: nothing that was there is
// changed. Nothing refers to them, so the next pack takes them away.
package bench

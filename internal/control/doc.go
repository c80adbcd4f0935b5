// Package control is how a tool on the same machine talks to a running
// storage: a Unix socket at HOME/misc/control, guarded by its file mode
// (with the usual umask only the owner may connect). Requests and answers are JSON objects, one a line.
//
// A request is {"op": "enter"|"leave"|"status"|"flush", "code": …, "hold": …}, or
// {"op": …, "arguments": …} for the other operations of the storage. An answer is {"ok":
// true, "result": …} or {"error": …}; an error may have a "result" too: the work done until then. A
// tool that shuts its side of the connection for writing stops its request, and gets that answer.
// With "hold", the snapshot that was entered belongs to the connection: when it ends without a
// leave, because the tool died, the storage leaves snapshot mode by itself as soon as nobody holds
// the sublock.
package control

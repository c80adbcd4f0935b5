// Package pickle reads the opcodes of Python pickles, protocols 0 to 5, as far
// as a storage has to: which objects a data record refers to, of which class it
// is, whether it is a pickle at all, and a text for humans. It never builds
// Python objects and never executes anything, so it is safe on any input.
//
// A ZODB data record is two pickles, one after the other, that share one memo:
// the class (with the arguments of its constructor, where it has any), then the
// state. References to other persistent objects are persistent ids, of these forms:
//
//	oid                       strong
//	(oid, class)              strong
//	['m', (db, oid, class)]   strong, in another database
//	['n', (db, oid)]          strong, in another database
//	['w', (oid,)]             weak
//	['w', (oid, db)]          weak, in another database
//	[oid]                     weak, old form
//
// An oid is 8 bytes, as a byte string of any protocol, as a Python 2 string, or
// as the call _codecs.encode(text, 'latin1') by which Python 3 writes bytes in
// protocols below 3.
//
// The machine behind it keeps at most about a hundred bytes for each byte of the
// record, for any contents, and the stack of the goroutine does not grow with
// it. References and a Scanner give up beyond 512 MiB of values. Records that zc.zlibstorage wrote (".z" and zlib data) are unpacked first,
// up to maxUnwrapped.
//
// All functions may be called concurrently and keep nothing of their arguments.
package pickle

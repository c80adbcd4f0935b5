// Package snapfile reads and writes the two files by which a storage says that A
// is a snapshot: misc/snapshot, which holds the code, as the Python original has
// it, and misc/snapshot-taken beside it, a [Record]: from which moment on files
// that enter A are not part of that snapshot, and its last transaction.
//
// The record counts only together with the misc/snapshot for which it was
// written. That bears the moment as its time of modification, too, for tools that
// have nothing but a shell.
package snapfile

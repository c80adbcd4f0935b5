// Package layout maps the names of database files to paths below A and B, and
// back, in the four formats that a storage may have. Its functions are pure and
// may be called concurrently.
//
// A database name is the name of a file in all formats:
//
//	o0000000000000001.c                      pointer: the current revision of object 1
//	o0000000000000001.03F6ED2440000000       one revision of it (class Full)
//	o0000000000000001.03F6ED2440000000.blob  the blob of that revision
//	o0000000000000001                        the object (class Minimal)
//	t03F6ED.2440000000                       a transaction; 6 digits, a dot, 10 digits
//	x.oid x.serial x.packed                  the marks of the database
//
// Digits are upper-case hexadecimal. The first dot ends the head of the name;
// all after it is the rest, so the rest of a blob's name has a dot too.
// The formats cut head and rest as docs/format.md says:
//
//	bushy   o0/00/00/00/00/00/00/001/03F6ED2440000000
//	chunky  o000/000/000/000/0001.03F6ED2440000000
//	lawn    o0000000000000001/03F6ED2440000000
//	flat    o0000000000000001.03F6ED2440000000
//
// Within one class no two names have the same path, and the way back is exact:
// a path is accepted only if it is the one that its name maps to.
package layout

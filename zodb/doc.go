// Package zodb is the vocabulary that every part of the project shares: object
// ids, transaction ids, records, transaction metadata, the results of a storage's
// methods, and all errors that a caller may want to tell apart. It imports nothing
// of the project.
//
// All ids are eight bytes, big-endian, on disk and on the wire. In file names
// and messages they are written as 16 upper-case hexadecimal digits.
package zodb

// Package store is the seam between the engine and the files of a database: what the
// engine asks of a storage, whatever format keeps it on the disk.
package store

// Side names one of the two database directories of a HOME.
type Side string

// The two sides. B is in use only during and after a snapshot.
const (
	A Side = "A"
	B Side = "B"
)

// Sides returns both, in the order in which they are made.
func Sides() []Side { return []Side{A, B} }

// File is an ordinary file, by its path relative to HOME.
type File struct {
	Path    string
	Content []byte
}

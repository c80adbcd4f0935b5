// Package store is the seam between the engine and the files of a database: the demands
// of the engine on a storage of any format on the disk.
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

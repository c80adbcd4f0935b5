package store

import "github.com/dirstorage/dirstorage/zodb"

// Reacher is for a store that finds the current revision of an object without x.serial: by the
// greatest tid of all files.
type Reacher interface {
	// Reach returns the last transaction of which A or B may have something; 0: of none.
	Reach() zodb.TID
}

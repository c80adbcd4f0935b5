package store

import (
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// Freezer makes A stand still, and moves files that came to B meanwhile into A. Its
// methods are called by the goroutine of [Writer], but for RaiseFloor and LastInA.
type Freezer interface {
	// RaiseFloor makes every file that is put into A or B from now on bear a time stamp of a
	// later pair of seconds than the moment, than now, and than all that were put before, even
	// if the clock is stepped back. It returns the earliest one, and is durable when it
	// returns. One call at a time, of any goroutine.
	RaiseFloor(moment time.Time) (floor time.Time, err error)
	// FloorLost reports whether the floor of time stamps could not be understood when the store
	// was opened. Another one was found.
	FloorLost() bool
	// UseB says that B is read before A. Put to B does that, too.
	UseB()
	// LastInA returns x.serial of A, not that of B. It may be called concurrently.
	LastInA() (zodb.TID, error)
	// Thaw moves at most limit of B into A, durably, in units of [Cost.Work]. empty: B is
	// empty, and is not read any more. Until then nothing may be put into A. It may be
	// repeated after an error or a crash. Foreign files stay in B.
	Thaw(limit int) (moved int, empty bool, err error)
}

// Store is all of it.
type Store interface {
	Reader
	Lister
	Filer
	Writer
	Packer
	Freezer
	Tender
}

package engine

import "time"

// Observer is told how long things take, for metrics. Its methods are called
// from any goroutine, also from those that others wait for; they must be quick
// and must not call the storage.
type Observer interface {
	// Synced is called after each group commit: how long the write of the commit
	// frames and the fdatasync took, and how many transactions shared it.
	Synced(d time.Duration, transactions int)
	// LockWaited is called for each vote that had to wait for the locks of its
	// objects, also if it got none.
	LockWaited(d time.Duration)
	// Flushed is called when all of a flush is in files, before its waiters go on.
	// transactions is the number that it moved out of the log; files is the number of
	// files that it may have made for them.
	Flushed(d time.Duration, transactions, files int)
}

// nobody is the Observer of a storage without one.
type nobody struct{}

func (nobody) Synced(time.Duration, int)       {}
func (nobody) LockWaited(time.Duration)        {}
func (nobody) Flushed(time.Duration, int, int) {}

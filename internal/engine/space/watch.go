// Package space watches the room on the file system of HOME: it tells the state the limit for
// the journal, keeps a reserve, and gives it up for a caller that makes room.
package space

import (
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Config is the part of the storage that a Watch needs.
type Config struct {
	FS            vfs.FS
	Log           *slog.Logger
	Clock         func() time.Time
	State         *state.State
	LowSpace      int64 // bytes; 0: nobody is warned
	Reserve       int64 // bytes; 0: there is none
	RetryInterval time.Duration
}

// Watch watches. Its methods may be called concurrently, but for those of the worker and of
// the open, which say so.
type Watch struct {
	o       Config
	journal *journal.Log // from the open on
	next    time.Time    // when Look has something to do; the worker's
}

// New returns a Watch that has not looked yet.
func New(o Config) *Watch { return &Watch{o: o} }

// Use names the journal whose spare files can be given up. For the open alone, before anything
// else is called.
func (w *Watch) Use(j *journal.Log) { w.journal = j }

// Wait shortens a wait of the worker to the time when Look has something to do. For the worker
// alone.
func (w *Watch) Wait(wait time.Duration) time.Duration {
	if !w.watched() {
		return wait
	}
	return min(wait, max(0, w.next.Sub(w.o.Clock())))
}

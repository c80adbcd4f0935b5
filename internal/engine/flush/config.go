package flush

import (
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
)

// Store is the part of a store that flushes and snapshots need.
type Store interface {
	store.Writer
	store.Freezer
	Tend(store.Tending) (store.Chore, error)
	Removed() (r store.Removed, inside bool)
}

// Config is the part of the storage that flushes and snapshots need.
type Config struct {
	Home          *home.Home
	Log           *slog.Logger
	Clock         func() time.Time
	RetryInterval time.Duration
	Store         Store
	State         *state.State
	Space         *space.Watch
}

// WorkerConfig is the part of the storage that a Worker needs.
type WorkerConfig struct {
	Config
	Snapshots     *Snapshots
	Tally         *Tally
	Unflushed     Unflushed
	Observer      Observer
	CleanShutdown bool // Stop flushes everything, also where the settings say quick_shutdown
	// Listen makes the control socket, if there is none.
	Listen func()
}

// Unflushed reads unflushed revisions: *read.Reader.
type Unflushed interface {
	FromLog(rev state.Revision) (*record.Object, error)
}

// Observer is told how long flushes take. See the Observer of the engine.
type Observer interface {
	Flushed(d time.Duration, transactions, files int)
}

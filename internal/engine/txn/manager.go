package txn

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/packing"
	"github.com/dirstorage/dirstorage/internal/engine/read"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/oidlock"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// Config is the part of the storage that a Manager needs.
type Config struct {
	Home        *home.Home
	Log         *slog.Logger
	Clock       func() time.Time
	Observer    Observer
	SpoolSize   int  // bytes of data of a transaction that are kept in memory
	KeepRecords bool // records stay in memory until they are flushed
	Store       store.Tender
	State       *state.State
	OIDs        *state.OIDs
	Read        *read.Reader
	Space       *space.Watch
	Guard       Guard
	Closing     context.Context // ends when Close of the storage is called
	// CopyingIn is called before the first transaction with a given tid begins, and again
	// after an error.
	CopyingIn func() error
}

// Observer is told how long commits take. See the Observer of the engine.
type Observer interface {
	Synced(d time.Duration, transactions int)
	LockWaited(d time.Duration)
}

// Guard stands between a pack and the transactions: *packing.Packer.
type Guard interface {
	// Pass is called by each vote when the transaction holds its locks.
	Pass(ctx context.Context, t packing.Txn) error
	// Ended is called when a transaction has ended.
	Ended(t packing.Txn)
}

// Manager begins transactions and commits them. All methods may be called concurrently, those
// of the open and of Close of the storage excepted, which say so.
type Manager struct {
	o       Config
	journal *journal.Log // from the open on; nil when read-only
	staging zodb.TID     // makes the names of staged files of this run unique
	staged  atomic.Uint64
	numbers atomic.Uint64 // of transactions
	locks   oidlock.Table
	commits commitQueue
	open    openTxns
}

// New returns a Manager of which transactions cannot commit before Start.
func New(o Config) *Manager { return &Manager{o: o, staging: zodb.TIDFromTime(o.Clock())} }

// Use names the journal. For the open of a storage alone.
func (m *Manager) Use(j *journal.Log) { m.journal = j }

// Start starts the committer. For the open of a storage alone.
func (m *Manager) Start() { m.commits.start(m) }

// Close aborts the transactions that are open, finishes those in Finish, and ends the
// committer. The state refuses new ones by then.
func (m *Manager) Close() {
	m.commits.leave()
	m.open.abortAll()
	m.commits.stop()
}

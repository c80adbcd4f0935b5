package packing

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/read"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// Config is the part of the storage that a Packer needs.
type Config struct {
	Home          *home.Home
	Log           *slog.Logger
	Clock         func() time.Time
	RetryInterval time.Duration
	Closing       context.Context // ends when Close of the storage is called
	Store         store.Store
	State         *state.State
	Read          *read.Reader
	Space         *space.Watch
	Counter       Counter
	Reclaimer     Reclaimer
	// SameA returns an error if A may not descend from the one beside which the files in
	// misc were written.
	SameA func() error
}

// Counter counts how much the storage holds: *flush.Tally.
type Counter interface {
	Counts() zodb.Counts
	// Recount adds n to the counts (sign 1, brought back) or subtracts it (sign -1, removed),
	// and keeps them.
	Recount(n zodb.Counts, sign int64)
}

// Reclaimer gives back the space that packs have freed inside files: *flush.Worker.
type Reclaimer interface {
	// ReclaimIfShort does so where space is short, and returns how many bytes the file system got.
	ReclaimIfShort(ctx context.Context) (bytes int64, err error)
	// Reclaim does so for all files of which a share, 0..1, is gone for good.
	Reclaim(ctx context.Context, least float64) error
}

// Txn is a transaction as the guard sees it. It can be the key of a map.
type Txn interface {
	// Touched returns all objects that it writes, relies on, or refers to. unseen is an error
	// about a record whose references cannot be seen.
	Touched() (list []Touch, unseen, err error)
}

// Packer packs and undeletes. All methods may be called concurrently, those of the open
// excepted, which say so.
type Packer struct {
	o       Config
	direct  read.Direct
	guard   guard
	turn    chan struct{} // one pack at a time: the one that has put something in may go
	running atomic.Pointer[progress]
	ended   atomic.Pointer[func()] // see OnPacked

	// Guarded by turn:
	files  *pack.Files
	left   *sweep // its plan is not over, and has to be gone on with
	whyNot error  // why it is not
	newest int64  // the last stamp
}

// New returns a Packer. ReadPlan has to be called before anybody commits.
func New(o Config) *Packer {
	return &Packer{o: o, direct: o.Read.Direct(), turn: make(chan struct{}, 1)}
}

// Pass is called by each vote, when the transaction holds its locks and before it looks
// whether the objects it refers to are there: see [guard]. The error is about an object
// that a pack has removed, or that of ctx.
func (s *Packer) Pass(ctx context.Context, t Txn) error { return s.guard.pass(ctx, t) }

// Ended is called when a transaction has ended.
func (s *Packer) Ended(t Txn) { s.guard.ended(t) }

// untilClose returns a context that ends with the storage too.
func (s *Packer) untilClose(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.o.Closing, func() { cancel(zodb.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

package read

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/cache"
	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// Store is the part of a store that a Reader needs.
type Store interface {
	store.Reader
	store.Lister
	store.Filer
}

// Log reads revisions from the journal.
type Log interface {
	// Read returns the data of a revision. The error says that its place was used again, or
	// that it cannot be read.
	Read(e *journal.Entry) ([]byte, error)
}

// Config is the part of the storage that a Reader needs.
type Config struct {
	Home     *home.Home
	Log      *slog.Logger
	Clock    func() time.Time
	ReadOnly bool // another process may write
	Store    Store
	State    *state.State
	Cache    *cache.Cache
}

// Reader reads committed transactions. All methods may be called concurrently, those of the
// open excepted, which say so.
type Reader struct {
	o        Config
	journal  Log
	packedTo atomic.Uint64 // x.packed
	existing existing
}

// New returns a Reader without a journal: see [Reader.Use].
func New(o Config) *Reader { return &Reader{o: o} }

// Use names the journal; nil: there is none. For the open of a storage alone.
func (r *Reader) Use(j Log) { r.journal = j }

// LastTransaction returns the tid of the last transaction that was finished; 0
// in a new storage. The callback of Finish may call it. It may
// be later than the transaction of that call, since a batch becomes visible as one.
func (r *Reader) LastTransaction() zodb.TID { return r.o.State.LastTID() }

// Packed returns x.packed: older transactions, and this one, may have been packed away.
func (r *Reader) Packed() zodb.TID { return zodb.TID(r.packedTo.Load()) }

// SetPacked notes that x.packed was read or changed.
func (r *Reader) SetPacked(tid zodb.TID) { r.packedTo.Store(uint64(tid)) }

// PackedAway reports whether a pack may have removed something of a transaction. A
// read-only storage looks again, because the process that writes may have packed.
func (r *Reader) PackedAway(tid zodb.TID) bool {
	if tid <= r.Packed() {
		return true
	}
	if !r.o.ReadOnly {
		return false
	}
	packed, err := r.o.Store.Mark(layout.XPacked)
	if err != nil {
		return false
	}
	r.packedTo.Store(packed)
	return tid <= r.Packed()
}

package metrics

import (
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Storage is the metrics of one storage. It is the observer of the engine
// (engine.Options.Observer). All methods may be called concurrently.
type Storage struct {
	name string
	o    *Options

	connections                               atomic.Int64
	load, vote, commit                        *histogram
	lockWait, fsync, flush                    *histogram
	conflicts, aborts                         atomic.Uint64
	synced, flushedTransactions, flushedFiles atomic.Uint64

	source atomic.Pointer[watched] // nil: not open
}

var _ engine.Observer = (*Storage)(nil)

func newStorage(name string, o *Options) *Storage {
	return &Storage{
		name: name, o: o,
		load: newHistogram(loadBounds()), vote: newHistogram(writeBounds()), commit: newHistogram(writeBounds()),
		lockWait: newHistogram(writeBounds()), fsync: newHistogram(writeBounds()), flush: newHistogram(writeBounds()),
	}
}

// Synced is called for each group commit.
func (s *Storage) Synced(d time.Duration, transactions int) {
	s.fsync.observe(d)
	s.synced.Add(uint64(max(transactions, 0)))
}

// LockWaited is called for each vote that had to wait for locks.
func (s *Storage) LockWaited(d time.Duration) { s.lockWait.observe(d) }

// Flushed is called for each flush.
func (s *Storage) Flushed(d time.Duration, transactions, files int) {
	s.flush.observe(d)
	s.flushedTransactions.Add(uint64(max(transactions, 0)))
	s.flushedFiles.Add(uint64(max(files, 0)))
}

// Source is where the numbers come from that are read when somebody asks.
type Source struct {
	// Status is called for each scrape; see [engine.Storage.Status]. Mandatory.
	Status func() zodb.Status
	// Backup returns the last backup, and Verified the newest one that was found
	// good; nil where that is not known. They are called now and then only: see [Options].
	Backup, Verified func() (Record, error)
	// Jobs returns the records of the jobs in HOME, and Verify that of the one in the repository; nil:
	// there are none. They are called as often as Backup and as Verified.
	Jobs, Verify func() ([]runs.State, error)
}

// Watch sets the source of the numbers of an open storage, in place of the source before. An empty
// source ends that: a storage that was closed has no gauges.
func (s *Storage) Watch(src Source) {
	if src.Status == nil {
		s.source.Store(nil)
		return
	}
	s.source.Store(&watched{
		Source:   src,
		backup:   &cached{read: src.Backup, keep: s.o.KeepBackup, what: "backup", storage: s},
		verified: &cached{read: src.Verified, keep: s.o.KeepVerified, what: "verification", storage: s},
		jobs:     &jobsCache{read: src.Jobs, keep: s.o.KeepBackup, storage: s},
		verify:   &jobsCache{read: src.Verify, keep: s.o.KeepVerified, storage: s},
	})
}

// watched is a source with its last reading.
type watched struct {
	Source
	backup, verified *cached
	jobs, verify     *jobsCache
}

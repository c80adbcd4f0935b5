package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine/cache"
	"github.com/dirstorage/dirstorage/internal/engine/packing"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/internal/oidlock"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Names below HOME.
const (
	settingsFile = "config/settings"
	identityFile = "config/identity"
	lockFile     = "misc/lock"
	sublockFile  = snapfile.Sublock
	snapshotFile = snapfile.Name
	journalDir   = "journal"
)

var _ zodb.Storage = (*Storage)(nil)

// Storage is an open HOME. All methods may be called concurrently.
type Storage struct {
	fs       vfs.FS
	o        Options
	log      *slog.Logger
	settings *settings.Settings
	identity string
	full     bool // class Full
	store    store.Store
	journal  *journal.Log // nil when read-only
	read     logReader
	locks    oidlock.Table
	home     vfs.Info // the directory that was opened
	lock     vfs.Lock // misc/lock; nil when read-only
	rolled   int      // transactions rolled forward at open
	staging  zodb.TID // makes the names of staged files of this run unique
	staged   atomic.Uint64
	packedTo atomic.Uint64 // x.packed
	flushes  atomic.Int64  // batches flushed
	passing  atomic.Int64  // errors that pass

	floorDebt atomic.Bool // see payFloor

	countsMu sync.Mutex // held while the counts are changed and saved
	unsaved  bool       // misc/counts could not be written; guarded by countsMu

	oids struct {
		sync.Mutex
		highest zodb.OID // highest oid handed out or stored
	}

	closing context.Context // ends when Close is called
	stop    context.CancelFunc
	commits commitQueue
	worker  worker
	txns    openTxns
	known   knownObjects
	cache   *cache.Cache
	space   *space.Watch
	packer  *packing.Packer // from the open on, before anybody can commit
	history ownHistory      // of Open, and then of Close

	// modeMu is held by who changes files to leave snapshot mode, or has entered it.
	modeMu state.Mutex

	state *state.State
}

// logReader reads revisions that are in the log; *journal.Log, or what a
// read-only storage has in its place.
type logReader interface {
	Read(e *journal.Entry) ([]byte, error)
}

// checkHome makes sure that HOME and its lock are still what was opened, so
// that nothing is written into a directory that somebody put in its place, or
// beside another process that took the lock meanwhile.
func (s *Storage) checkHome() error {
	info, err := s.fs.Stat(".")
	if vfs.Passes(err) {
		return fmt.Errorf("look whether HOME is still there: %w", err)
	}
	if err == nil && (info.Ino != s.home.Ino || info.Dev != s.home.Dev) {
		err = errors.New("another directory is in its place")
	}
	if err == nil {
		err = s.lock.Check()
	}
	if vfs.Passes(err) {
		return fmt.Errorf("look whether the lock is still there: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", zodb.ErrHomeChanged, s.fs.Path("."), err)
	}
	return nil
}

// stillHome is checkHome for those who do not look at its error: if HOME was changed from
// outside, the storage is read-only from then on.
func (s *Storage) stillHome() error {
	err := s.checkHome()
	if errors.Is(err, zodb.ErrHomeChanged) {
		return s.state.Fail(err)
	}
	return err
}

// packed returns x.packed: what is not later may have been packed away.
func (s *Storage) packed() zodb.TID { return zodb.TID(s.packedTo.Load()) }

// packedAway reports whether a pack may have removed something of a transaction. A
// read-only storage looks again, because the process that writes may have packed.
func (s *Storage) packedAway(tid zodb.TID) bool {
	if tid <= s.packed() {
		return true
	}
	if !s.o.ReadOnly {
		return false
	}
	packed, err := s.store.Mark(layout.XPacked)
	if err != nil {
		return false
	}
	s.packedTo.Store(packed)
	return tid <= s.packed()
}

// LastTransaction returns the tid of the last transaction that was finished; 0
// in a new storage. It may be called from the callback of [Txn.Finish]; it may
// be later than the transaction of that call, since a batch becomes visible as one.
func (s *Storage) LastTransaction() zodb.TID {
	return s.state.LastTID()
}

// NewOIDs hands out n oids that nobody was given before, growing by one. They
// are kept in mind over a restart from the next finished transaction on; those
// that were never used by then may be handed out again.
func (s *Storage) NewOIDs(n int) ([]zodb.OID, error) {
	if err := s.state.Writable(); err != nil {
		return nil, err
	}
	s.oids.Lock()
	defer s.oids.Unlock()
	if n < 0 || uint64(n) > uint64(^s.oids.highest) {
		return nil, fmt.Errorf("cannot hand out %d oids after %s", n, s.oids.highest)
	}
	list := make([]zodb.OID, n)
	for i := range list {
		s.oids.highest++
		list[i] = s.oids.highest
	}
	return list, nil
}

// raiseOID makes sure that an oid that was stored is not handed out later.
func (s *Storage) raiseOID(oid zodb.OID) {
	s.oids.Lock()
	s.oids.highest = max(s.oids.highest, oid)
	s.oids.Unlock()
}

func (s *Storage) highestOID() zodb.OID {
	s.oids.Lock()
	defer s.oids.Unlock()
	return s.oids.highest
}

// Settings returns the settings as they were read at open. The caller must not
// change them.
func (s *Storage) Settings() *settings.Settings { return s.settings }

// Close ends the storage. Transactions that are open are aborted; those in
// Finish are finished first. A pack or undelete that is under way stops, and has
// returned from its last step when Close returns; the next Open goes on with a pack that removes. Normally everything is flushed then, the log is
// removed and A is left as a snapshot (misc/snapshot says “shutdown”). With
// quick_shutdown, in snapshot mode, while B is being moved into A, or after a
// failure, things are left as they are and the next Open rolls forward. Close
// takes no longer than the backlog of the flush needs, whatever the size of
// the database. The error is that of the last flush, or of releasing the locks.
func (s *Storage) Close() error {
	socket, first := s.beginClose()
	if !first {
		return zodb.ErrClosed
	}
	s.stop()
	defer logging.Flush(s.log)
	if s.o.ReadOnly {
		return s.closeReader()
	}

	var errs []error
	if socket != nil {
		errs = append(errs, socket.Close())
	}
	s.commits.leave()
	s.txns.abortAll()
	s.commits.stop()
	errs = append(errs, s.worker.stop(s), s.packer.Close())
	if s.checkHome() == nil {
		s.endHistory()
	}
	errs = append(errs, s.journal.Close())
	if socket != nil && s.checkHome() == nil {
		errs = append(errs, control.Remove(s.fs))
	}
	if sublock := s.state.TakeSublock(); sublock != nil {
		errs = append(errs, sublock.Close())
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		s.log.Warn("closed", "tid", s.state.LastTID(), "err", err)
		return err
	}
	s.log.Info("closed", "tid", s.state.LastTID())
	return nil
}

// beginClose is [state.State.Close]. Who is leaving snapshot mode comes to the end of it
// first, so that no file is changed after the locks are given back.
func (s *Storage) beginClose() (socket io.Closer, first bool) {
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	return s.state.Close()
}

func (s *Storage) closeReader() error {
	if c, ok := s.read.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

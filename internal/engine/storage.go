package engine

import (
	"context"
	"errors"
	"log/slog"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine/cache"
	"github.com/dirstorage/dirstorage/internal/engine/flush"
	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/lineage"
	"github.com/dirstorage/dirstorage/internal/engine/packing"
	"github.com/dirstorage/dirstorage/internal/engine/read"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/internal/oidlock"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// Names below HOME.
const (
	sublockFile  = snapfile.Sublock
	snapshotFile = snapfile.Name
)

var _ zodb.Storage = (*Storage)(nil)

// Storage is an open HOME. All methods may be called concurrently.
type Storage struct {
	*read.Reader // of everything committed; like all rooms, from the open of the store on

	o       Options
	log     *slog.Logger
	home    *home.Home
	store   store.Store
	journal *journal.Log    // nil when read-only
	beside  *journal.Reader // of a read-only storage, if there is a journal
	rolled  int             // transactions rolled forward at open

	closing context.Context // ends when Close is called
	stop    context.CancelFunc

	state     *state.State
	oids      state.OIDs
	cache     *cache.Cache
	space     *space.Watch
	tally     *flush.Tally
	txns      *txn.Manager
	snapshots *flush.Snapshots
	worker    *flush.Worker
	packer    *packing.Packer
	lineage   *lineage.Lineage
	answers   answers
}

// Begin starts a transaction. Any number may be open. Errors: metadata too
// long, a tid after which there is none, storage read-only or closed.
func (s *Storage) Begin(ctx context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error) {
	t, err := s.txns.Begin(ctx, meta, o)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// LockWaits returns the votes that wait for locks of objects, the first ones of them. Owners are
// transactions by the Number that they have beside the methods of zodb.Txn.
func (s *Storage) LockWaits(most int) []oidlock.Wait { return s.txns.LockWaits(most) }

// Scratch makes a file that is empty. It is to be closed.
func (s *Storage) Scratch() (zodb.Scratch, error) { return s.txns.Scratch() }

// NewOIDs hands out n oids that nobody was given before, growing by one. They
// are kept in mind over a restart from the next finished transaction on; those
// that were never used by then may be handed out again.
func (s *Storage) NewOIDs(n int) ([]zodb.OID, error) {
	if err := s.state.Writable(); err != nil {
		return nil, err
	}
	return s.oids.HandOut(n)
}

// HighestOID returns the highest oid that was handed out or stored.
func (s *Storage) HighestOID() zodb.OID { return s.oids.Highest() }

// Home returns the path of HOME.
func (s *Storage) Home() string { return s.home.FS.Path(".") }

// Identity returns the content of config/identity, 32 hexadecimal digits.
func (s *Storage) Identity() string { return s.home.Identity }

// DiffersFromSource says, after an Open with HistoryCopied, that a transaction is going to be
// added that is not as its source has it: see [lineage.Lineage.DiffersFromSource].
func (s *Storage) DiffersFromSource() error { return s.lineage.DiffersFromSource() }

// Loads reports whether its HOME may have a [Loader] when the storage is closed.
func (s *Storage) Loads() bool {
	_, ok := s.store.(store.Loader)
	return ok && s.home.Full
}

// Settings returns the settings as they were read at open. The caller must not
// change them.
func (s *Storage) Settings() *settings.Settings { return s.home.Settings }

// Close ends the storage. Transactions that are open are aborted; those in
// Finish are finished first. A pack or undelete that is under way stops, and has
// returned from its last step when Close returns; the next Open goes on with a pack that
// removes. Normally everything is flushed then, the log is removed and A is left as a
// snapshot (misc/snapshot says “shutdown”). With
// quick_shutdown, in snapshot mode, while B is being moved into A, or after a
// failure, things are left as they are and the next Open rolls forward. Close takes no
// longer than the backlog of the flush needs, for a database of any size. The error is
// that of the last flush, or of releasing the locks.
func (s *Storage) Close() error {
	socket, first := s.snapshots.Close()
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
	s.txns.Close()
	errs = append(errs, s.worker.Stop(), s.packer.Close())
	if s.home.Check() == nil {
		s.lineage.End()
	}
	errs = append(errs, s.journal.Close(), s.store.Close())
	if socket != nil && s.home.Check() == nil {
		errs = append(errs, control.Remove(s.home.FS))
	}
	if sublock := s.state.TakeSublock(); sublock != nil {
		errs = append(errs, sublock.Close())
	}
	errs = append(errs, s.home.Unlock())
	if err := errors.Join(errs...); err != nil {
		s.log.Warn("closed", "tid", s.state.LastTID(), "err", err)
		return err
	}
	s.log.Info("closed", "tid", s.state.LastTID())
	return nil
}

func (s *Storage) closeReader() error {
	if s.beside == nil {
		return s.store.Close()
	}
	return errors.Join(s.beside.Close(), s.store.Close())
}

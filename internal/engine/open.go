package engine

import (
	"context"
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/engine/cache"
	"github.com/dirstorage/dirstorage/internal/engine/flush"
	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/lineage"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Open opens the storage at home. The log of a crash, a quick shutdown or a close during
// a snapshot is rolled forward: the transactions are there at once, and are moved to
// their places in the background; [Storage.WaitNormal] waits for that. If somebody holds
// misc/sublock, the storage starts in snapshot mode and leaves it by itself when the lock
// is free.
//
// Errors: ErrNotAStorage; ErrLocked, if another process has it open, naming
// its pid; an error about config/settings; *zodb.CorruptError or
// ErrJournalOlder, if the journal cannot be rolled forward, in which case nothing was
// changed.
func Open(ctx context.Context, home string, o Options) (*Storage, error) {
	o = o.withDefaults()
	f := o.fs
	if f == nil {
		var err error
		if f, err = vfs.OS(home); err != nil {
			return nil, err
		}
	}
	s, err := openOnce(ctx, f, o)
	if vfs.FaultOf(err) == vfs.FullFault && !o.ReadOnly && space.GiveUpReserve(f) {
		o.Logger.Warn("disk full: the reserve was given up for the open", "path", space.ReserveFile)
		s, err = openOnce(ctx, f, o)
	}
	return s, vfs.WithPassing(err)
}

// asideHeld begins the names of replaced files that are kept for a while. Those left by a
// crash are removed like everything that is aside.
const asideHeld = home.JournalDir + "/aside-held-"

func openOnce(ctx context.Context, f vfs.FS, o Options) (*Storage, error) {
	h, err := home.Read(f, o.Logger)
	if err != nil {
		return nil, err
	}
	s := &Storage{home: h, o: o, log: o.Logger}
	unflushed := o.CacheSize / 4 // of the memory for records
	s.cache = cache.New(o.CacheSize - unflushed)
	s.closing, s.stop = context.WithCancel(context.Background())
	s.state = state.New(state.Options{Log: o.Logger, Clock: o.Clock, Home: f.Path("."), ReadOnly: o.ReadOnly, Minimal: !s.home.Full,
		Cache: s.cache, Journal: s.home.Settings.Journal, RecordMemory: unflushed, LogMemory: o.LogMemory,
		RetryInterval: o.RetryInterval, SnapshotLimit: o.SnapshotLimit, HasReserve: o.Reserve > 0})
	s.tally = flush.NewTally(flush.TallyConfig{Home: h, Log: o.Logger, State: s.state, OIDs: &s.oids})
	s.lineage = lineage.New(lineage.Config{Home: h, Log: o.Logger, Clock: o.Clock, State: s.state, Counted: s.tally, Storage: s, History: o.History})
	s.space = space.New(space.Config{FS: f, Log: o.Logger, Clock: o.Clock, State: s.state,
		LowSpace: o.LowSpace, Reserve: o.Reserve, RetryInterval: o.RetryInterval})
	if o.ReadOnly {
		if err := s.openStore(ctx); err != nil {
			return nil, err
		}
		if err := s.openReader(ctx); err != nil {
			return nil, errors.Join(err, s.closeStore())
		}
		return s, nil
	}
	if err := s.takeLocks(); err != nil {
		return nil, err
	}
	if s.home.Settings.Filesystem.Sync && vfs.HoldBack(f, asideHeld) {
		s.log.Warn("the file system has no journal: the state after a power cut depends on its repair; better use another one", "path", f.Path("."))
	}
	s.lineage.Inspect()
	err = s.openStore(ctx)
	if err == nil {
		err = s.recover(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.closeStore(), s.releaseLocks())
	}
	last, mode := s.state.LastTID(), s.state.String()
	if err := s.packer.ReadPlan(); err != nil {
		return nil, errors.Join(err, s.journal.Close(), s.closeStore(), s.releaseLocks())
	}
	s.packer.EndUndelete()
	s.txns.Start()
	s.worker.Start(s.journal)
	if err := s.lineage.Begin(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.packer.Resume()
	if !o.NoControlSocket {
		s.listen()
	}
	s.log.Info("opened", "path", f.Path("."), "tid", last, "rolled_forward", s.rolled, "state", mode)
	return s, nil
}

// takeLocks takes misc/lock, and misc/sublock if it is free.
func (s *Storage) takeLocks() error {
	for _, dir := range []string{string(store.B), "journal", "misc"} {
		// A copy of a snapshot holds A and config only.
		if err := s.home.FS.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := s.home.Lock(); err != nil {
		return err
	}
	sublock, err := s.home.FS.Lock(sublockFile)
	if errors.Is(err, vfs.ErrLocked) {
		s.log.Warn("somebody needs A to stand still: starting in snapshot mode", "err", err)
		s.state.StartInSnapshot(state.SublockHeld)
		return nil
	}
	if err != nil {
		return errors.Join(err, s.home.Unlock())
	}
	s.state.StartNormal(sublock)
	return nil
}

func (s *Storage) releaseLocks() error {
	var errs []error
	if sublock := s.state.TakeSublock(); sublock != nil {
		errs = append(errs, sublock.Close())
	}
	return errors.Join(append(errs, s.home.Unlock())...)
}

// readMarks reads x.serial, x.oid and x.packed.
func (s *Storage) readMarks() error {
	serial, err := s.store.Mark(layout.XSerial)
	if err != nil {
		return err
	}
	oid, err := s.store.Mark(layout.XOID)
	if err != nil {
		return err
	}
	packed, err := s.store.Mark(layout.XPacked)
	if err != nil {
		return err
	}
	s.state.Start(zodb.TID(serial))
	s.SetPacked(zodb.TID(packed))
	s.oids.Start(zodb.OID(oid))
	return nil
}

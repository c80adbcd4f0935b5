package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

func (s *serving) openStorages(ctx context.Context) error {
	for _, st := range s.conf.Storages {
		storage, err := s.openStorage(ctx, st)
		if err != nil {
			return fmt.Errorf("storage %s: %w", st.Name, err)
		}
		home, err := vfs.OS(st.Home)
		if err != nil {
			return errors.Join(err, storage.Close())
		}
		served := &servedStorage{Storage: storage, s: s, name: st.Name, home: home}
		if !st.ReadOnly && !s.conf.ReadOnly {
			if served.unkept = runs.Reserve(home, runs.InHome); served.unkept != nil {
				s.log.Warn("no room is kept for records of damage: damage that a job finds on a full disk is forgotten when the server ends", "storage", st.Name, "path", home.Path(runs.InHome), "err", served.unkept)
			}
		}
		s.open.add(zeo.StorageOptions{Name: st.Name, Storage: served, BlobDir: st.BlobDir, ReadOnly: st.ReadOnly, NoGC: st.NoGC})
		if err := s.watch(st, storage); err != nil {
			return err
		}
		if last := storage.Status().LastTID; last != 0 && last.Time().Sub(s.e.Now()) > clockBehind {
			s.log.Warn("the clock is behind the last transaction: the times of later ones are wrong", "storage", st.Name, "tid", last, "behind", last.Time().Sub(s.e.Now()).Round(time.Second), "do", clockRemedy)
		}
	}
	return nil
}

func (s *serving) openStorage(ctx context.Context, st config.Storage) (*engine.Storage, error) {
	// Open reports the error of a place that cannot be looked at.
	vacant, err := engine.Vacant(st.Home)
	if err == nil && vacant && !s.conf.Create {
		storage, err := s.openFree(ctx, st)
		if err != nil {
			err = hint(fmt.Errorf("%w; and create = false", err),
				"if the name is right, and no volume is missing there: dirstorage create %s; --create makes missing storages", st.Home)
		}
		return storage, err
	}
	if err == nil && vacant && (st.ReadOnly || s.conf.ReadOnly) {
		return nil, hint(fmt.Errorf("%w: %s is not there or empty, and a storage that nobody may write to is not made", zodb.ErrNotAStorage, st.Home),
			"if the name is right, and no volume is missing there: dirstorage create %s", shellWord(st.Home))
	}
	if err == nil && vacant && st.Expected != "" && !exists(st.Home) {
		return nil, notMade(st.Home, st.Expected)
	}
	if err == nil && vacant {
		if err := besideDataFS(st.Home); err != nil {
			return nil, err
		}
		o := engine.CreateOptions{Class: zodb.Class(s.conf.Class), Format: s.conf.Format}
		if o.Format == "" {
			o.Format = engine.DefaultFormat(o.Class)
		}
		if err := createHome(st.Home, o); err != nil {
			return nil, err
		}
		s.made = append(s.made, st.Home)
		s.log.Info("created", "path", st.Home, "class", o.Class, "format", o.Format)
	}
	if err := s.examine(ctx, st); err != nil {
		return nil, err
	}
	storage, err := s.openFree(ctx, st)
	return storage, notEmpty(st.Home, err)
}

// notMade is the error of a HOME that does not exist, and that the command line does not name.
func notMade(home, place string) error {
	return hint(fmt.Errorf("%w: %s, of %s, does not exist, and is not made", zodb.ErrNotAStorage, home, place),
		"if the name is right, and no volume is missing there: dirstorage create %s, or give HOME as an argument", shellWord(home))
}

// openFiles is how many bundles each storage has open: together a quarter of the process's limit.
func (s *serving) openFiles() int {
	return int(max(8, budget.Files()/4/int64(max(len(s.conf.Storages), 1))))
}

// lockPoll is the time between two tries to open a HOME that another process has open.
const lockPoll = 500 * time.Millisecond

// openFree opens a HOME, and waits for as long as it may until no other process has it open.
func (s *serving) openFree(ctx context.Context, st config.Storage) (*engine.Storage, error) {
	var left <-chan time.Time
	for {
		o := engine.Options{Logger: s.log.With("storage", st.Name), CacheSize: s.cacheSize(), SnapshotLimit: s.conf.SnapshotLimit,
			SpoolSize: int(zeo.SpoolSize(s.memory.Limit)), LogMemory: max(1<<20, min(s.memory.Limit/32, 64<<20)), LowSpace: s.conf.LowSpace, Reserve: s.conf.Reserve, OpenFiles: s.openFiles(), Observer: s.metrics.Storage(st.Name)}
		if st.ReadOnly || s.conf.ReadOnly {
			o.History = engine.HistoryRead // nobody commits, and a copy can be continued afterwards
		}
		storage, err := engine.Open(ctx, st.Home, o)
		if vfs.IsReadOnly(err) {
			if !st.ReadOnly && !s.conf.ReadOnly {
				return nil, hint(err, "serve it with --read-only, and nothing is written; or %s", mountAdvice(err))
			}
			s.log.Warn("the file system is read-only: nothing is written, and writes of another machine are not seen", "storage", st.Name, "path", st.Home)
			o.ReadOnly = true
			return engine.Open(ctx, st.Home, o)
		}
		if !errors.Is(err, zodb.ErrLocked) || s.conf.LockWait == 0 {
			return storage, err
		}
		if left == nil {
			left = time.After(s.conf.LockWait)
			s.log.Warn("waiting until another process closes the storage", "storage", st.Name, "err", err, "limit", s.conf.LockWait)
		}
		select {
		case <-time.After(lockPoll):
		case <-left:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *serving) closeStorages(ctx context.Context) error {
	return s.extended(func() error {
		var errs []error
		for _, st := range s.open.all() {
			s.metrics.Storage(st.Name).Watch(metrics.Source{})
			if err := st.Storage.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close storage %s: %w", st.Name, err))
			}
		}
		return errors.Join(errs...)
	})
}

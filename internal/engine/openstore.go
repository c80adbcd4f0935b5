package engine

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/engine/flush"
	"github.com/dirstorage/dirstorage/internal/engine/read"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/store/formats"
)

// openStore opens the store of HOME and makes its packer. It reads the floor of time
// stamps, so a caller that writes holds the lock.
func (s *Storage) openStore(ctx context.Context) (err error) {
	if s.store = s.o.store; s.store == nil {
		choose := formats.Writable
		if s.o.ReadOnly {
			choose = formats.Beside
		}
		o := formats.Options{FS: s.home.FS, Settings: s.home.Settings, Identity: s.home.IdentityBytes(), Clock: s.o.Clock, Warn: func(text string, err error) { s.log.Warn(text, "err", err) },
			Progress: func(done, total int64) error {
				s.log.Info("making the table of current revisions", "done", done, "total", total)
				return ctx.Err()
			}, Lanes: s.o.lanes, LanesFrom: s.o.lanesFrom,
			PartLen: s.o.partLen, SyncEvery: s.o.syncEvery, OpenFiles: s.o.OpenFiles}
		if s.store, err = choose(o); err != nil {
			return err
		}
	}
	if s.store.FloorLost() {
		s.log.Warn("new files bear a time some seconds ahead: the earliest time that they may bear is lost", "path", "misc/floor")
	}
	s.Reader = read.New(read.Config{Home: s.home, Log: s.log, Clock: s.o.Clock, ReadOnly: s.o.ReadOnly, Store: s.store, State: s.state, Cache: s.cache})
	common := flush.Config{Home: s.home, Log: s.log, Clock: s.o.Clock, RetryInterval: s.o.RetryInterval, Store: s.store, State: s.state, Space: s.space}
	s.snapshots = flush.NewSnapshots(common)
	s.worker = flush.NewWorker(flush.WorkerConfig{Config: common, Snapshots: s.snapshots, Tally: s.tally, Unflushed: s.Reader,
		Observer: s.o.Observer, CleanShutdown: s.o.CleanShutdown, Listen: s.listen})
	s.packer = s.newPacker()
	s.txns = txn.New(txn.Config{Home: s.home, Log: s.log, Clock: s.o.Clock, Observer: s.o.Observer, SpoolSize: s.o.SpoolSize, KeepRecords: s.o.CacheSize > 0,
		Store: s.store, State: s.state, OIDs: &s.oids, Read: s.Reader, Space: s.space, Guard: s.packer, Closing: s.closing, CopyingIn: s.lineage.CopyingIn})
	return nil
}

// closeStore is for an open that fails, perhaps before there is a store.
func (s *Storage) closeStore() error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

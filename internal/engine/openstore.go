package engine

import (
	"github.com/dirstorage/dirstorage/internal/engine/read"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store/classic"
)

// The one place that chooses a store by the settings.

// openStore opens the store of HOME and makes what packs it. It reads the floor of time
// stamps, so whoever writes holds the lock.
func (s *Storage) openStore() error {
	if s.store = s.o.store; s.store == nil {
		if err := s.chooseStore(); err != nil {
			return err
		}
	}
	if s.store.FloorLost() {
		s.log.Warn("what is written from now on bears a time some seconds ahead: the earliest one that it may bear is lost", "path", "misc/floor")
	}
	s.Reader = read.New(read.Config{Home: s.home, Log: s.log, Clock: s.o.Clock, ReadOnly: s.o.ReadOnly, Store: s.store, State: s.state, Cache: s.cache})
	s.packer = s.newPacker()
	s.txns = txn.New(txn.Config{Home: s.home, Log: s.log, Clock: s.o.Clock, Observer: s.o.Observer, SpoolSize: s.o.SpoolSize, KeepRecords: s.o.CacheSize > 0,
		Store: s.store, State: s.state, OIDs: &s.oids, Read: s.Reader, Space: s.space, Guard: s.packer, Closing: s.closing, CopyingIn: s.copyingIn})
	return nil
}

func (s *Storage) chooseStore() error {
	c, err := classic.New(classic.Options{
		FS: s.home.FS, Format: s.home.Settings.Structure.Format, Clock: s.o.Clock,
		Minimal: !s.home.Full, CheckMD5: s.home.Settings.MD5Policy.Read, Beside: s.o.ReadOnly,
		Sync: s.home.Settings.Filesystem.Sync, DirSync: s.home.Settings.Filesystem.Sync && s.home.Settings.POSIX.DirSync,
		Lanes: s.o.lanes, LanesFrom: s.o.lanesFrom,
	})
	s.store = c
	return err
}

// emptyStore returns what is in a new HOME that has no transaction.
func emptyStore(format layout.Format) []classic.File { return classic.Empty(format) }

// ofEmptyStore reports whether a path may be one of them.
func ofEmptyStore(name string) bool { return classic.OfEmpty(name) }

// storeDirectory reports whether a name in HOME is that of a directory of the store.
func storeDirectory(name string) bool { return classic.IsDirectory(name) }

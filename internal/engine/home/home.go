// Package home is the directory of an open storage: its settings, its identity and its lock.
package home

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Names below HOME.
const (
	SettingsFile = "config/settings"
	identityFile = "config/identity"
	LockFile     = "misc/lock"
	JournalDir   = "journal"
)

// Home is a HOME. Its fields don't change after [Read]. All methods may be called
// concurrently, Lock and Unlock excepted.
type Home struct {
	FS       vfs.FS
	Settings *settings.Settings
	Identity string // 32 hexadecimal digits
	Full     bool   // class Full

	opened vfs.Info // the directory that was locked
	lock   vfs.Lock // misc/lock; nil until Lock
}

// IdentityBytes returns the identity as files of the storage bear it.
func (h *Home) IdentityBytes() (b [16]byte) {
	// ParseIdentity made sure that these are 16 bytes.
	id, _ := hex.DecodeString(h.Identity)
	copy(b[:], id)
	return b
}

// SumKind returns the kind of checksum of new revisions and transactions: the one that the store
// wants, or none if config/settings says so.
func (h *Home) SumKind(s store.Writer) record.SumKind {
	if !h.Settings.MD5Policy.Write {
		return record.NoSum
	}
	return s.SumKind()
}

// Read reads config/settings and config/identity. Warnings about settings are logged.
func Read(f vfs.FS, log *slog.Logger) (*Home, error) {
	text, err := f.ReadFile(SettingsFile)
	if err != nil {
		return nil, settings.NotAHome(f, SettingsFile, err)
	}
	set, warnings, err := settings.Parse(text, SettingsFile)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		log.Warn("setting", "path", SettingsFile, "warning", w.String())
	}
	id, err := f.ReadFile(identityFile)
	if err != nil {
		return nil, settings.NotAHome(f, identityFile, err)
	}
	identity, err := settings.ParseIdentity(id)
	if err != nil {
		return nil, err
	}
	return &Home{FS: f, Settings: set, Identity: identity, Full: zodb.Class(set.Storage.ClassName) == zodb.ClassFull}, nil
}

// Lock takes misc/lock. The error matches zodb.ErrLocked if another process has it.
func (h *Home) Lock() (err error) {
	if h.opened, err = h.FS.Stat("."); err != nil {
		return err
	}
	h.lock, err = h.FS.Lock(LockFile)
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: the storage %s is open in another process: %w", zodb.ErrLocked, h.FS.Path("."), err)
	}
	return err
}

// Unlock gives misc/lock back.
func (h *Home) Unlock() error { return h.lock.Close() }

// Check makes sure that HOME and its lock are still the opened ones, so that nothing is
// written into a directory that somebody put in its place, or beside another process that
// took the lock meanwhile. Errors: zodb.ErrHomeChanged; one that passes.
func (h *Home) Check() error {
	info, err := h.FS.Stat(".")
	if vfs.Passes(err) {
		return fmt.Errorf("look whether HOME is still there: %w", err)
	}
	if err == nil && (info.Ino != h.opened.Ino || info.Dev != h.opened.Dev) {
		err = errors.New("another directory is in its place")
	}
	if err == nil {
		err = h.lock.Check()
	}
	if vfs.Passes(err) {
		return fmt.Errorf("look whether the lock is still there: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", zodb.ErrHomeChanged, h.FS.Path("."), err)
	}
	return nil
}

// Sync says which files and directories are made durable.
func (h *Home) Sync() vfs.SyncOptions {
	sync := h.Settings.Filesystem.Sync
	return vfs.SyncOptions{File: sync, Dir: sync && h.Settings.POSIX.DirSync}
}

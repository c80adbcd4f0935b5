package dirstorage

import (
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/zodb"
)

// CreateOptions are the properties of a new HOME. The zero value gives the defaults.
type CreateOptions struct {
	Class  zodb.Class // default Full
	Format string     // bundled, bushy, chunky, lawn or flat; default bundled, and chunky for class Minimal
	// Set overrides options of config/settings, by "section.option".
	Set map[string]string
}

// Options says how a storage is opened. The zero value gives the defaults; lasting properties of
// the storage are in its config/settings.
type Options struct {
	// ReadOnly changes nothing on disk and takes no lock, so it can look at a
	// storage that another process has open; later commits of that process are not seen. A crashed
	// storage is read as it would be after recovery.
	ReadOnly bool
	// Logger gets the storage's messages; default none.
	Logger *slog.Logger
	// Observer is told how long commits, flushes and lock waits take; default none.
	Observer Observer
	// Clock tells the time; default time.Now.
	Clock func() time.Time
	// CacheSize is how many bytes of records are kept in memory. Default 64 MiB, less
	// where the memory limit of the program is small; negative = none. A storage that is
	// ReadOnly has none.
	CacheSize int64
	// SpoolSize is how many bytes of data an open transaction keeps in memory; the rest
	// waits in a file until the vote. Default 4 MiB.
	SpoolSize int
	// NoControlSocket leaves out the socket by which tools reach the storage.
	NoControlSocket bool
	// CleanShutdown makes Close flush everything and leave a snapshot also where
	// config/settings says quick_shutdown.
	CleanShutdown bool
	// SnapshotLimit is how long snapshot mode may last before the log says so, and
	// the status. Default 6 hours; negative = however long.
	SnapshotLimit time.Duration
	// LowSpace is how many free bytes on the file system of HOME are so few that Status,
	// and the log once, warn of it; never more than a tenth of it. 0 = nobody looks.
	LowSpace int64
	// Reserve is how many bytes the file misc/reserve takes up, which is given up when a
	// full disk would keep the storage from being opened or packed. 0 = none is made.
	Reserve int64
}

// engine returns the options as the engine has them.
func (o Options) engine() engine.Options {
	e := engine.Options{
		ReadOnly: o.ReadOnly, Logger: logging.Limit(o.Logger), Clock: o.Clock, CacheSize: o.CacheSize, SpoolSize: o.SpoolSize,
		NoControlSocket: o.NoControlSocket, CleanShutdown: o.CleanShutdown, SnapshotLimit: o.SnapshotLimit,
		LowSpace: o.LowSpace, Reserve: o.Reserve,
	}
	if o.Observer != nil {
		e.Observer = o.Observer
	}
	return e
}

// Observer is told how long things take, for metrics. Its methods are called from any
// goroutine, also from those that others wait for; they must be quick and must not call
// the storage.
type Observer interface {
	// Synced is called after each group commit: how long the write and the fdatasync
	// took, and how many transactions shared it.
	Synced(d time.Duration, transactions int)
	// LockWaited is called for each vote that had to wait for the locks of its objects.
	LockWaited(d time.Duration)
	// Flushed is called when all of a flush is in files: how many transactions it moved
	// out of the log, and how many files it may have made for them.
	Flushed(d time.Duration, transactions, files int)
}

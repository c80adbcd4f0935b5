package engine

import (
	"crypto/rand"
	"io"
	"log/slog"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/engine/lineage"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// CreateOptions describes a new HOME. The zero value gives the defaults.
type CreateOptions struct {
	Class  zodb.Class // default Full
	Format string     // bundled, bushy, chunky, lawn or flat; default: see DefaultFormat
	// Text is config/settings to begin with, as another storage has it; empty: a new one. Class
	// and Format take the place of those in it.
	Text []byte
	// Set overrides options of config/settings, by "section.option".
	Set map[string]string
	// Rand is where the identity comes from; default crypto/rand.
	Rand io.Reader

	fs vfs.FS // tests
}

// Options says how a storage is opened. The zero value gives the defaults;
// permanent properties of the storage are in its config/settings.
type Options struct {
	// ReadOnly changes nothing on disk and takes no lock, so it can look at a
	// storage that another process has open; later commits of that process are not seen.
	// A crashed storage is read as it would be after recovery.
	ReadOnly bool
	// Logger gets the storage's messages; default none.
	Logger *slog.Logger
	// Observer is told how long commits, flushes and lock waits take; default none.
	// The durations are those of Clock.
	Observer Observer
	// Clock tells the time; default time.Now.
	Clock func() time.Time
	// SegmentSize is the size in bytes of a segment of the log; default 16 MiB.
	SegmentSize int64
	// CacheSize is how many bytes of records are kept in memory: current ones, and
	// those that are not flushed yet. Default 64 MiB; negative = none. A storage that is
	// ReadOnly has none, because it would not see the changes of another process. This
	// and the next two are smaller where the memory limit of the program demands it.
	CacheSize int64
	// SpoolSize is how many bytes of data an open transaction keeps in memory;
	// the rest waits in a file until the vote. Default 4 MiB.
	SpoolSize int
	// LogMemory is how many bytes of memory the index over the log may take, the metadata of
	// transactions included, before a flush begins. Default 64 MiB.
	LogMemory int64
	// OpenFiles is how many bundles of the format bundled are open files at a time, about;
	// default a quarter of the process's limit of open files.
	OpenFiles int
	// NoControlSocket leaves out the socket by which tools reach the storage.
	NoControlSocket bool
	// CleanShutdown makes Close flush everything and leave a snapshot also where
	// config/settings says quick_shutdown.
	CleanShutdown bool
	// History is the meaning of this Open for the history of the storage; default
	// HistoryOwn.
	History History
	// RetryInterval is how often a full disk or a sublock that somebody holds is
	// looked at again; default 1 second.
	RetryInterval time.Duration
	// SnapshotLimit is how long snapshot mode may last before the log says so, and
	// the status. Default 6 hours; negative = however long.
	SnapshotLimit time.Duration

	// LowSpace is how many free bytes on the file system of HOME are so few that
	// Status, and the log once, warn of it; never more than a tenth of the file system.
	// Inodes are watched too. 0 = nobody looks.
	LowSpace int64
	// Reserve is how many bytes the file misc/reserve takes up, never more than a tenth of
	// the file system, which is given up when a full disk would keep the storage from being
	// opened or packed. 0 = none is made; one that is there is given up all the same.
	Reserve int64

	fs        vfs.FS      // tests
	store     store.Store // tests; instead of the one that the settings say
	lanes     int         // tests; how many goroutines a flush has; 0: as many as are good
	lanesFrom int         // tests; from how many files on it has more than one
	partLen   int         // tests; how many revisions of a transaction one of them puts at a time
	syncEvery int         // tests; after how many files a flush syncs
}

// History is the meaning of an Open for the history of a storage: see [lineage.History].
type History = lineage.History

// The meanings of an Open.
const (
	HistoryOwn    = lineage.Own
	HistoryKept   = lineage.Kept
	HistoryCopied = lineage.Copied
	HistoryRead   = lineage.Read
)

func (o Options) withDefaults() Options {
	o.Logger = logging.Limit(o.Logger)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	switch {
	case o.CacheSize < 0 || o.ReadOnly:
		o.CacheSize = 0
	case o.CacheSize == 0:
		o.CacheSize = budget.Within(64<<20, 8)
	}
	if o.SpoolSize == 0 {
		o.SpoolSize = int(budget.Within(4<<20, 64))
	}
	if o.LogMemory == 0 {
		o.LogMemory = budget.Within(64<<20, 32)
	}
	if o.RetryInterval == 0 {
		o.RetryInterval = time.Second
	}
	if o.SnapshotLimit == 0 {
		o.SnapshotLimit = 6 * time.Hour
	}
	return o
}

func (o CreateOptions) withDefaults() CreateOptions {
	if o.Class == "" {
		o.Class = zodb.ClassFull
	}
	if o.Format == "" {
		o.Format = DefaultFormat(o.Class)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

// DefaultFormat returns the format of a new HOME of a class unless another is asked for; see
// docs/formats.md for the measurements behind it. Bundles have no class Minimal.
func DefaultFormat(class zodb.Class) string {
	if class == zodb.ClassMinimal {
		return layout.Chunky.String()
	}
	return layout.Bundled.String()
}

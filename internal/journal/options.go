package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"path"

	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Options say where the log is and how to write it.
type Options struct {
	FS       vfs.FS
	Dir      string   // relative to the root of FS; it must exist
	Identity [16]byte // of the storage; a segment with another one is refused
	// SegmentSize is the size in bytes of a segment, 4 KiB at least; 0 = 16 MiB.
	// One that has to hold a larger transaction is made larger.
	SegmentSize int64
	// Spares is how many segments are kept to be used again; 0 = 2, negative = none.
	Spares int
	// Sync makes commits durable. Without it nothing ever calls fsync, and after a crash of the
	// machine the log is cut at the first frame that does not fit.
	Sync bool
	// DirSync makes names durable too; it counts only with Sync.
	DirSync bool
	// Logger gets one line for each recovery that found something. nil = none.
	Logger *slog.Logger
}

const (
	defaultSegmentSize = 16 << 20
	minSegmentSize     = 4 << 10
	defaultSpares      = 2
)

func (o Options) withDefaults() Options {
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	switch {
	case o.Spares == 0:
		o.Spares = defaultSpares
	case o.Spares < 0:
		o.Spares = 0
	}
	o.Logger = logging.Limit(o.Logger)
	return o
}

func (o *Options) validate() error {
	if o.FS == nil || o.Dir == "" {
		return errors.New("journal: FS and Dir must be given")
	}
	if o.SegmentSize < minSegmentSize {
		return fmt.Errorf("journal: SegmentSize is %d bytes; the least is %d", o.SegmentSize, minSegmentSize)
	}
	return nil
}

// path returns the name of a file of the log, relative to HOME.
func (o *Options) path(name string) string { return path.Join(o.Dir, name) }

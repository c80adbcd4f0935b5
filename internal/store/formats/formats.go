// Package formats chooses a store by the settings of a HOME: the one place that knows which
// formats there are.
package formats

import (
	"io"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/bundled"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Options of [Writable] and [Beside]. FS, Settings and Clock are mandatory.
type Options struct {
	FS       vfs.FS // HOME
	Settings *settings.Settings
	Identity [16]byte // as in config/identity
	Clock    func() time.Time
	// Warn is told of damage that an open found, and of a table of current revisions that was
	// given up; nil: no warnings.
	Warn func(text string, err error)
	// Progress is told now and then how far it is when the table of current revisions of format bundled
	// has to be made anew, in entries; nil: nobody is. With its error the open ends.
	Progress func(done, total int64) error
	// OpenFiles is how many bundles are open files at a time, about. 0: a quarter of the limit
	// of the process.
	OpenFiles int
	// Lanes and LanesFrom are for tests: how many goroutines a Put has, and from how many
	// files on. 0: the defaults.
	Lanes, LanesFrom int
	// PartLen and SyncEvery are for tests: how many revisions one of them puts at a time, and after
	// how many files a Put syncs.
	PartLen, SyncEvery int
}

// Writable opens the store of a HOME of which the caller holds the lock.
func Writable(o Options) (store.Store, error) { return o.open(false) }

// Beside opens it for reading, beside another process that may write.
func Beside(o Options) (store.Store, error) { return o.open(true) }

func (o Options) open(beside bool) (store.Store, error) {
	s := o.Settings
	sync := s.Filesystem.Sync
	if s.Structure.Format == layout.Bundled {
		return opened[store.Store](bundled.New(bundled.Options{
			FS: o.FS, Identity: o.Identity, Clock: o.Clock, Beside: beside, Sync: sync, DirSync: sync && s.POSIX.DirSync, Warn: o.Warn, Progress: o.Progress,
			OpenFiles: o.OpenFiles,
		}))
	}
	return opened[store.Store](classic.New(classic.Options{
		FS: o.FS, Format: s.Structure.Format, Clock: o.Clock, Beside: beside,
		Minimal: s.Storage.ClassName == settings.ClassMinimal, CheckSums: s.MD5Policy.Read,
		Sync: sync, DirSync: sync && s.POSIX.DirSync,
		Lanes: o.Lanes, LanesFrom: o.LanesFrom, PartLen: o.PartLen, SyncEvery: o.SyncEvery,
	}))
}

// opened makes a store an interface, and one that could not be opened nil.
func opened[I, S any](s S, err error) (none I, _ error) {
	if err != nil {
		return none, err
	}
	return any(s).(I), nil
}

// Size returns the bytes of the records of a HOME on the disk; known is false in the formats with a
// file for each revision, where that takes long.
func Size(f vfs.FS, format layout.Format) (bytes int64, known bool, err error) {
	if format != layout.Bundled {
		return 0, false, nil
	}
	bytes, err = bundled.Size(f)
	return bytes, err == nil, err
}

// Largest returns the size of the largest bundle of a HOME in bytes; 0 in the other formats.
func Largest(f vfs.FS, format layout.Format) (int64, error) {
	if format != layout.Bundled {
		return 0, nil
	}
	return bundled.Largest(f)
}

// Snapshot is the set of questions to an A that stands still.
type Snapshot interface {
	store.Reader
	store.Filer
	io.Closer
}

// Still opens an A that stands still: that of a storage in snapshot mode, open in any process, or a
// copy, which may have nothing beside config and A. B and the journal are not looked at. The
// caller closes it.
func Still(f vfs.FS, s *settings.Settings) (Snapshot, error) {
	if s.Structure.Format == layout.Bundled {
		return opened[Snapshot](bundled.New(bundled.Options{FS: f, Still: true}))
	}
	return opened[Snapshot](classic.New(classic.Options{FS: f, Format: s.Structure.Format, Minimal: s.Storage.ClassName == settings.ClassMinimal, CheckSums: s.MD5Policy.Read, Still: true}))
}

// Copies returns the expert for the files of a format, in archives and in HOMEs that nobody has
// open.
func Copies(format layout.Format) store.Copies {
	if format == layout.Bundled {
		return bundled.Copies{}
	}
	return classic.Copies{Format: format}
}

// Empty returns the files of a new HOME without a transaction.
func Empty(format layout.Format) []store.File { return classic.Empty(format) }

// OfEmpty reports whether a path relative to HOME may be one of those, in any format.
func OfEmpty(path string) bool { return classic.OfEmpty(path) }

// IsDirectory reports whether a name in HOME is that of a directory with files of the database.
func IsDirectory(name string) bool { return classic.IsDirectory(name) }

// Floor returns the floor of time stamps of a HOME of any format, as [classic.ReadFloor]. Of one
// whose content is lost it is about that.
func Floor(f vfs.FS) (time.Time, error) {
	floor, _, err := classic.ReadFloor(f)
	return floor, err
}

// NoteTime notes the latest time of files that a program puts into A by itself, before it does, so that the
// next floor is above it also if the clock is set back.
func NoteTime(f vfs.FS, latest time.Time) error { return classic.NoteTime(f, latest) }

package bundled

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options for New. FS and Clock are mandatory.
type Options struct {
	FS       vfs.FS
	Identity [16]byte // as in config/identity
	// Sync and DirSync are as in config/settings.
	Sync, DirSync bool
	// Beside is for who only reads, beside another process that may write.
	Beside bool
	// Still is for who only reads A, which stands still: there may be no B.
	Still bool
	Clock func() time.Time
	// Warn is told of damage that an open found, and of a table of current revisions that was
	// given up; nil: no warnings.
	Warn func(text string, err error)
	// MergeFactor and MergeSize are the policy of [Store.Tend]: so many neighbours of about one
	// size become one, of at most so many bytes. 0: the defaults.
	MergeFactor int
	MergeSize   int64
	// OpenFiles is how many bundles are open files at a time, about; one that is read is opened if it
	// is not. 0: a quarter of the process's limit of open files.
	OpenFiles int
	// CommitEvery is after how many changes the table of current revisions is made durable. A
	// crash costs the indexes of so many flushes. 0: the default.
	CommitEvery int
	// Progress is told now and then, in entries, how far it is when it has to be made anew; nil:
	// nobody is. With its error the open ends.
	Progress func(done, total int64) error
}

var _ store.Store = (*Store)(nil)

// Store is the pair of directories A and B.
type Store struct {
	o     Options
	fs    vfs.FS
	files *classic.Store // marks, blobs, time stamps, and syncs that are due
	catalogue
	buffers sync.Pool // of *frameBuffers
	cached  frameCache
	pool    *pool
	marks   marks
	table   atomic.Pointer[table] // nil: there is none; set by the goroutine that puts
	rebuilt bool                  // the table was made anew; set by New
	sparse  atomic.Bool           // there is no use in a table
	closed  atomic.Bool

	warnMu   sync.Mutex
	warned   []string // files of which Warn was told, guarded by warnMu
	besideMu sync.Mutex
	removed  atomic.Pointer[store.Removed] // as it was weighed last; nil: it was not
	beside   beside                        // guarded by besideMu

	// Of the goroutine that puts:

	// unsure: after an error the directories may differ from the view.
	unsure bool
	// doubt is a bundle that may be lost in a power cut; nil: there is none.
	doubt   *doubt
	pending pending
	lack    lack
}

// New returns the store of a HOME. It reads the footers of all bundles that count. Who writes gets a
// *vfs.SpreadError for a HOME that is spread over several mounts.
func New(o Options) (*Store, error) {
	if o.MergeFactor == 0 {
		o.MergeFactor = mergeFactor
	}
	if o.MergeSize == 0 {
		o.MergeSize = mergeSize
	}
	if o.CommitEvery == 0 {
		o.CommitEvery = commitEvery
	}
	files, err := classic.New(classic.Options{
		FS: o.FS, Format: layout.Bundled, Sync: o.Sync, DirSync: o.DirSync, Beside: o.Beside, Still: o.Still, Clock: o.Clock,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, fs: o.FS, files: files, pool: newPool(&o), pending: newPending()}
	s.buffers.New = func() any { return new(frameBuffers) }
	s.readMarks()
	if !o.Beside && !o.Still {
		if err := s.endLoading(); err != nil {
			return nil, err
		}
		if err := s.verifyAdopted(); err != nil {
			return nil, err
		}
	}
	load := s.reload
	if o.Beside {
		load = s.reloadBeside
	}
	if err := load(); err != nil {
		return nil, err
	}
	if !o.Beside && !o.Still {
		s.forgetMarks(s.now)
	}
	return s, nil
}

// Close closes the bundles, when nobody reads them any more. The goroutine that puts has ended.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.closeTable()
	return s.publish(&view{})
}

// Reach implements [store.Reacher].
func (s *Store) Reach() zodb.TID { return s.now.last() }

// sure reads the directories again if an error has left that open. It is called first by
// every change.
func (s *Store) sure() error {
	if !s.unsure {
		return nil
	}
	return s.reload()
}

// changed reads the directories again, after something was changed, with or without an error.
// After an error a power cut may take files back, and then the table would be ahead.
func (s *Store) changed(err error) error {
	s.unsure = true
	if t := s.table.Load(); err != nil && t != nil && !t.bad.Swap(true) {
		s.tableFailed(err)
	}
	return errors.Join(err, s.reload())
}

// Empty returns the files of a database without a transaction.
func Empty() []store.File { return classic.Empty(layout.Bundled) }

package check

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

const (
	// shareOfFiles is the part of the descriptors of the process that bundles take.
	shareOfFiles = 4
	// leastOpen is how many these are at least.
	leastOpen = 8
	// scarceTries is how often a file is opened while descriptors are lacking, with waits from
	// scarceWait on, each twice as long: a quarter of a second in all.
	scarceTries = 9
	scarceWait  = time.Millisecond
)

// openFiles bounds how many bundles are open files: those that were read last, about. Others are opened
// again when they are read. All methods may be called concurrently.
type openFiles struct {
	fs    vfs.FS
	limit int

	mu      sync.Mutex
	open    []*bundleFile // guarded by mu; those with a file
	hand    int           // guarded by mu; where the search for one to be closed goes on
	opening int           // guarded by mu; files that are about to be opened
}

func newOpenFiles(f vfs.FS) *openFiles {
	return &openFiles{fs: f, limit: max(leastOpen, int(budget.Files()/shareOfFiles))}
}

// bundleFile is a bundle that can be read, whether its file is open or not.
type bundleFile struct {
	files *openFiles
	path  string
	end   *end // when it was opened first; guarded by mu

	mu   sync.RWMutex
	file vfs.File // guarded by mu; nil: it is not open
	used atomic.Bool
}

// end is the end of a file, by which it is known again.
type end struct {
	size int64
	foot string // empty: it cannot be read
}

func endOf(f vfs.File) (end, error) {
	info, err := f.Stat()
	if err != nil {
		return end{}, err
	}
	foot := make([]byte, min(info.Size, bundle.FooterSize))
	if n, _ := f.ReadAt(foot, info.Size-int64(len(foot))); n < len(foot) {
		return end{size: info.Size}, nil // whoever reads it has the error
	}
	return end{info.Size, string(foot)}, nil
}

// find opens a bundle.
func (o *openFiles) find(path string) (*bundleFile, error) {
	b := &bundleFile{files: o, path: path}
	err := b.reopen()
	if err != nil {
		return nil, err
	}
	return b, nil
}

// ReadAt implements [io.ReaderAt].
func (b *bundleFile) ReadAt(p []byte, at int64) (int, error) {
	b.mu.RLock()
	defer func() { b.mu.RUnlock() }()
	for b.file == nil {
		b.mu.RUnlock()
		err := b.reopen()
		b.mu.RLock()
		if err != nil {
			return 0, err
		}
	}
	if !b.used.Load() {
		b.used.Store(true)
	}
	return b.file.ReadAt(p, at)
}

// reopen opens the file if it is not open.
func (b *bundleFile) reopen() error {
	o := b.files
	o.makeRoom()
	defer o.opened()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file != nil {
		return nil
	}
	f, err := o.openFile(b.path)
	if b.end != nil && errors.Is(err, fs.ErrNotExist) {
		// The error does not match fs.ErrNotExist: nothing is said about its members.
		return fmt.Errorf("%s was removed while it was checked: another process changes the storage", b.path)
	}
	if err != nil {
		return err
	}
	is, err := endOf(f)
	if err == nil && b.end != nil && *b.end != is {
		err = fmt.Errorf("%s was replaced while it was checked: another process changes the storage", b.path)
	}
	if err != nil {
		_ = f.Close() // it was only read
		return err
	}
	b.file, b.end = f, &is
	b.used.Store(true)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = append(o.open, b)
	return nil
}

// openFile opens a file. Where descriptors are lacking it waits for a moment, and closes others.
func (o *openFiles) openFile(path string) (vfs.File, error) {
	wait := scarceWait
	for try := 1; ; try++ {
		f, err := o.fs.Open(path)
		if vfs.FaultOf(err) != vfs.ScarceFault || try == scarceTries {
			return f, err
		}
		o.mu.Lock()
		closing := o.choose((len(o.open) + 3) / 4)
		o.mu.Unlock()
		closeAll(closing)
		time.Sleep(wait)
		wait *= 2
	}
}

// makeRoom closes files until one can be opened, which counts until opened is called.
func (o *openFiles) makeRoom() {
	o.mu.Lock()
	o.opening++
	closing := o.choose(len(o.open) + o.opening - o.limit)
	o.mu.Unlock()
	closeAll(closing)
}

func (o *openFiles) opened() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opening--
}

// choose takes some bundles out that were not read lately, at most n. mu is held.
func (o *openFiles) choose(n int) (closing []*bundleFile) {
	for passed := 0; len(closing) < n && passed < 2*len(o.open); {
		o.hand %= len(o.open)
		b := o.open[o.hand]
		if b.used.Swap(false) {
			o.hand++
			passed++
			continue
		}
		last := len(o.open) - 1
		o.open[o.hand], o.open[last] = o.open[last], nil
		o.open = o.open[:last]
		closing = append(closing, b)
	}
	return closing
}

// closeAll closes files that nobody reads at the moment: reads that are under way end before.
func closeAll(list []*bundleFile) {
	for _, b := range list {
		b.mu.Lock()
		if b.file != nil {
			_ = b.file.Close() // it was only read
			b.file = nil
		}
		b.mu.Unlock()
	}
}

// close closes all of them.
func (o *openFiles) close() {
	o.mu.Lock()
	all := o.open
	o.open = nil
	o.mu.Unlock()
	closeAll(all)
}

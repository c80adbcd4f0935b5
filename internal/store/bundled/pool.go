package bundled

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// shareOfFiles is the part of the descriptors of the process that bundles take by default.
	shareOfFiles = 4
	// leastOpen is how many these are at least.
	leastOpen = 8
	// leastKept is how many bundles may be open at least although their files are removed.
	leastKept = 8
	// scarceTries is how often a file is opened while descriptors are lacking, with waits from
	// scarceWait on, each twice as long: a quarter of a second in all.
	scarceTries = 9
	scarceWait  = time.Millisecond
	// sharedTries is after how many reads from a file that was closed meanwhile a reader opens it for
	// itself.
	sharedTries = 4
)

// pool bounds how many bundles are open files: those that were read last, about. Others are opened
// again when they are read. All methods may be called concurrently.
type pool struct {
	fs     vfs.FS
	beside bool // another process may remove bundles
	limit  int

	mu      sync.Mutex
	known   map[*opened]bool // guarded by mu; all that are not closed
	files   []*opened        // guarded by mu; those with a file, in no order
	hand    int              // guarded by mu; where the search for one to be closed goes on
	opening int              // guarded by mu; files that are about to be opened
}

func newPool(o *Options) *pool {
	limit := o.OpenFiles
	if limit <= 0 {
		limit = max(leastOpen, int(budget.Files()/shareOfFiles))
	}
	return &pool{fs: o.FS, beside: o.Beside, limit: limit, known: make(map[*opened]bool)}
}

// handle is an open file.
type handle struct{ vfs.File }

// ReadAt implements [io.ReaderAt]. The file is opened if it is not open.
func (o *opened) ReadAt(b []byte, at int64) (int, error) {
	for range sharedTries {
		h := o.file.Load()
		if h == nil {
			var err error
			if h, err = o.pool.open(o); err != nil {
				return 0, err
			}
		}
		if !o.used.Load() {
			o.used.Store(true)
		}
		if n, err := h.ReadAt(b, at); !errors.Is(err, fs.ErrClosed) {
			return n, err
		}
	}
	// It is closed again and again in favour of others.
	h, err := o.pool.openFile(o)
	if err != nil {
		return 0, err
	}
	n, err := h.ReadAt(b, at)
	_ = h.Close() // it was only read
	return n, err
}

// open returns the file of a bundle, opened if it is not open.
func (p *pool) open(o *opened) (*handle, error) {
	o.opening.Lock()
	defer o.opening.Unlock()
	if h := o.file.Load(); h != nil {
		return h, nil
	}
	p.makeRoom()
	h, err := p.openFile(o)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opening--
	if err != nil {
		return nil, err
	}
	if !p.known[o] {
		_ = h.Close() // it was only read
		return nil, fmt.Errorf("%s: %w", o.path, fs.ErrClosed)
	}
	o.file.Store(h)
	o.used.Store(true)
	p.files = append(p.files, o)
	return h, nil
}

// makeRoom closes files until one can be opened, which counts from now on.
func (p *pool) makeRoom() {
	p.mu.Lock()
	p.opening++
	closing := p.choose(len(p.files) + p.opening - p.limit)
	p.mu.Unlock()
	closeAll(closing)
}

// giveBack closes a part of the files: others need descriptors.
func (p *pool) giveBack() {
	p.mu.Lock()
	closing := p.choose((len(p.files) + 3) / 4)
	p.mu.Unlock()
	closeAll(closing)
}

// choose takes the files of some bundles that were not read lately, at most so many. mu is held. A read
// that is under way ends before its file is closed.
func (p *pool) choose(n int) (closing []*handle) {
	for passed := 0; len(closing) < n && passed < 2*len(p.files); {
		p.hand %= len(p.files)
		o := p.files[p.hand]
		if o.pinned || o.used.Swap(false) {
			p.hand++
			passed++
			continue
		}
		closing = append(closing, p.take(p.hand))
	}
	return closing
}

// take takes the file away from the one in a place. mu is held.
func (p *pool) take(i int) *handle {
	o := p.files[i]
	last := len(p.files) - 1
	p.files[i] = p.files[last]
	p.files[last] = nil
	p.files = p.files[:last]
	return o.file.Swap(nil)
}

func closeAll(list []*handle) {
	for _, h := range list {
		_ = h.Close() // it was only read
	}
}

// openFile opens the file of a bundle. Where descriptors are lacking it waits for a moment, and closes
// others.
func (p *pool) openFile(o *opened) (*handle, error) {
	wait := scarceWait
	for try := 1; ; try++ {
		h, err := p.find(o)
		if vfs.FaultOf(err) != vfs.ScarceFault || errors.Is(err, zodb.ErrScarce) || try == scarceTries { // ErrScarce is of find itself: the file is gone
			return h, err
		}
		p.giveBack()
		time.Sleep(wait)
		wait *= 2
	}
}

// find opens the file where it is: one of B may have been moved into A. That it is nowhere does not
// mean that an object does not exist, so the error does not match fs.ErrNotExist.
func (p *pool) find(o *opened) (*handle, error) {
	paths := []string{o.path}
	if o.side == store.B {
		paths = append(paths, dirOf(store.A)+"/"+o.name.String())
	}
	for _, path := range paths {
		f, err := p.fs.Open(path)
		if errors.Is(err, fs.ErrNotExist) && o.end != nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := o.recognize(f); err != nil {
			_ = f.Close() // it was only read
			return nil, err
		}
		return &handle{f}, nil
	}
	if p.beside {
		return nil, fmt.Errorf("%w: %s is gone: another process has merged it; begin again. No more than %s open at a time, as the limit of open files demands",
			zodb.ErrScarce, o.path, human.Plural(int64(p.limit), "bundle is", "bundles are"))
	}
	return nil, &zodb.CorruptError{Path: o.path, Reason: "the bundle is gone: somebody removed or moved it while the storage was open"}
}

// end is the end of a file, by which it is known again.
type end struct {
	size int64
	sum  uint32 // of the footer
}

// recognize notes the end of the file when it is opened first, and compares it later: names are never
// used again, unless by somebody else.
func (o *opened) recognize(f vfs.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	foot := make([]byte, min(info.Size, bundle.FooterSize))
	if n, err := f.ReadAt(foot, info.Size-int64(len(foot))); n < len(foot) {
		return fmt.Errorf("read the footer of %s: %w", o.path, err)
	}
	is := end{info.Size, crc32.Checksum(foot, castagnoli)}
	if o.end == nil {
		o.end, o.size = &is, info.Size
	}
	if *o.end != is {
		return &zodb.CorruptError{Path: o.path, Reason: "somebody put another file in its place while the storage was open"}
	}
	return nil
}

// add takes a bundle in.
func (p *pool) add(o *opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[o] = true
}

// close closes a bundle that nobody reads any more.
func (p *pool) close(o *opened) error {
	p.mu.Lock()
	delete(p.known, o)
	var h *handle
	if i := slices.Index(p.files, o); i >= 0 {
		h = p.take(i)
	}
	p.mu.Unlock()
	if h == nil {
		return nil
	}
	return h.Close()
}

// errHeld: the file of a bundle cannot be removed now.
var errHeld = errors.New("it is read, and has to stay")

// keep is called before the file of a bundle is removed: for those who read it still, it stays open. Where
// that are too many the error is errHeld, unless they must.
func (p *pool) keep(n bundle.Name, must bool) error {
	list, ok := p.pin(n, must)
	if !ok {
		return errHeld
	}
	for _, o := range list {
		if _, err := p.open(o); err != nil && !errors.Is(err, fs.ErrClosed) {
			return err
		}
	}
	return nil
}

// pin marks the bundles of a name that somebody holds.
func (p *pool) pin(n bundle.Name, must bool) (list []*opened, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !must && !p.room(n) {
		return nil, false
	}
	for o := range p.known {
		if o.name == n {
			o.pinned = true
			list = append(list, o)
		}
	}
	return list, true
}

// mayGo reports whether keep would succeed.
func (p *pool) mayGo(n bundle.Name) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room(n)
}

// room reports whether those who hold a bundle can keep it open: no more than half of the files stay
// open for such, or some. mu is held.
func (p *pool) room(n bundle.Name) bool {
	held, pinned := false, 0
	for o := range p.known {
		if o.pinned {
			pinned++
		}
		held = held || o.name == n && !o.pinned
	}
	return !held || pinned < max(p.limit/2, leastKept)
}

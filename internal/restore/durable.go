package restore

import (
	"errors"
	"io"
	"path"
	"sync"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// chooseSync finds out how the new HOME becomes durable.
func (r *run) chooseSync() error {
	files, known := int64(0), true
	for _, m := range r.o.Plan.Chain {
		files += m.Counts.Entries
		known = known && !m.Original()
	}
	r.syncEach = known && files <= r.o.Few && r.old == nil
	if !r.syncEach {
		if err := r.home.SyncAll(); !errors.Is(err, vfs.ErrNotSupported) {
			return err
		}
		r.syncEach = true
	}
	// Nothing else of it may be there after a power cut while the state is not.
	return syncDirs(r.home, ".")
}

// sync makes everything durable that is in the HOME.
func (r *run) sync() error {
	if !r.syncEach {
		return r.home.SyncAll()
	}
	if err := r.syncs.wait(); err != nil {
		return err
	}
	return syncDirs(r.home, ".")
}

// syncFiles makes the files of the HOME durable that a storage has written: with filesystem.sync = 0
// in its settings, it did not.
func (r *run) syncFiles() error {
	if err := r.home.SyncAll(); !errors.Is(err, vfs.ErrNotSupported) {
		return err
	}
	for name, err := range vfs.Walk(r.home, ".") {
		if err != nil {
			return err
		}
		f, err := r.home.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(f.SyncTimes(), f.Close()); err != nil {
			return err
		}
	}
	return syncDirs(r.home, ".")
}

func syncDirs(f vfs.FS, dir string) error {
	for e, err := range f.List(dir) {
		if err == nil && e.IsDir() {
			err = syncDirs(f, path.Join(dir, e.Name))
		}
		if err != nil {
			return err
		}
	}
	return f.SyncDir(dir)
}

// writeLarge writes a file that is not in memory. It is made durable beside the next one, and
// beside the check.
func (r *run) writeLarge(f file, content io.Reader) error {
	out, err := target{r.home, r.syncEach}.fill(f, content, make([]byte, copyBuffer))
	if err != nil || !r.syncEach {
		if out != nil {
			err = errors.Join(err, out.Close())
		}
		return err
	}
	r.syncs.begin(func() error { return errors.Join(out.SyncTimes(), out.Close()) })
	return nil
}

// copyBuffer is how many bytes of a large file are copied at a time.
const copyBuffer = 256 << 10

// syncsAtOnce bounds the files that are open for it.
const syncsAtOnce = 4

// syncs are files that are made durable in the background. The zero value has none. One goroutine
// uses it.
type syncs struct {
	running sync.WaitGroup
	slots   chan struct{}

	mu  sync.Mutex
	err error // guarded by mu; the first
}

func (s *syncs) begin(do func() error) {
	if s.slots == nil {
		s.slots = make(chan struct{}, syncsAtOnce)
	}
	s.slots <- struct{}{}
	s.running.Go(func() {
		err := do()
		<-s.slots
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.err == nil {
			s.err = err
		}
	})
}

// wait waits for all that were begun, and returns the first error of any until now.
func (s *syncs) wait() error {
	s.running.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

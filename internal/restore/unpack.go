package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// unpack puts the contribution of a backup of the chain into the HOME.
func (r *run) unpack(ctx context.Context, i int) error {
	m := r.o.Plan.Chain[i]
	last := i == len(r.o.Plan.Chain)-1
	u := &unpacking{r: r, m: m, last: last, w: newWriters(target{r.home, r.syncEach}, r.o.Workers)}
	u.after, _ = m.After()
	var err error
	if u.superseded, err = r.superseded(i); err != nil {
		return errors.Join(err, u.w.wait())
	}
	if last && r.state.Cut {
		c, err := r.copies.Cut(store.CutOptions{Home: r.home, Last: r.state.To, Base: u.after, Resumed: r.result.Resumed,
			Put: func(name string, content io.Reader) error {
				return target{r.home, r.syncEach}.write(file{name: name}, content)
			}})
		if err != nil {
			return errors.Join(err, u.w.wait())
		}
		u.cut = c
	}
	err = u.parts(ctx)
	err = errors.Join(err, u.w.wait())
	if u.cut != nil {
		err = u.cut.End(err)
	}
	if vfs.SaysFull(err) {
		err = &fullError{err}
	}
	return err
}

// superseded returns which files of a backup of the chain later ones supersede. Of a last one that
// is taken back it is not known before.
func (r *run) superseded(of int) (map[string]bool, error) {
	last := len(r.o.Plan.Chain) - 1
	l := r.copies.Layers()
	all := make(map[string]bool)
	for i := last; i >= of; i-- {
		if i == last && r.state.Cut {
			continue
		}
		for _, name := range r.o.Plan.Chain[i].Bundles {
			take, err := l.Take(name)
			if err != nil {
				return nil, err
			}
			if i == of && !take {
				all[name] = true
			}
		}
	}
	return all, nil
}

// unpacking is the work on one backup.
type unpacking struct {
	r     *run
	m     *backup.Manifest
	after zodb.TID  // with which the one before ends
	last  bool      // of the chain
	cut   store.Cut // nil = all of it is wanted
	w     *writers
	// superseded are files that later backups of the chain supersede.
	superseded map[string]bool
	need       map[int64]struct{} // places of entries that are not linked; nil = all
	frames     []archive.Frame    // that begin with an entry
	next       int                // of frames
	sums       *backup.Sums       // of what is before each of them
	since      int64              // bytes since the last checkpoint
}

// parts unpacks the parts of the archive that are needed.
func (u *unpacking) parts(ctx context.Context) error {
	r := u.r
	var err error
	resumable := u.cut == nil && !u.m.Original()
	if resumable && (r.old != nil || u.m.Bytes > r.o.Checkpoint || r.state.At > 0) {
		if u.frames, err = r.o.Repository.Frames(ctx, u.m); err != nil {
			return err
		}
	}
	if resumable && r.old != nil {
		ranges, err := u.link(ctx)
		for _, part := range ranges {
			if err == nil {
				err = u.part(ctx, part)
			}
		}
		return err
	}
	u.sums = backup.NewSums(u.frames)
	part := backup.Range{Whole: true, Sums: u.sums}
	if resumable && r.state.At > 0 {
		k := slices.IndexFunc(u.frames, func(f archive.Frame) bool { return f.At == r.state.At })
		if k < 0 {
			return fmt.Errorf("%w: the index of backup %s has no frame at %d any more", archive.ErrDamaged, u.m.Name, r.state.At)
		}
		part.From, part.Before, u.next = u.frames[k], r.state.Before, k+1
		err := u.part(ctx, part)
		if !errors.Is(err, backup.ErrOtherBefore) {
			return err
		}
		// The files that were unpacked before are proven by nothing.
		u.sums, u.next = backup.NewSums(u.frames), 0
		part = backup.Range{Whole: true, Sums: u.sums}
	}
	return u.part(ctx, part)
}

func (u *unpacking) part(ctx context.Context, part backup.Range) error {
	for i, err := range u.r.o.Repository.Items(ctx, u.m, part) {
		if err == nil {
			err = u.checkpoint(i.At)
		}
		if err == nil {
			err = u.item(i)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkpoint makes the unpacked files durable where a resumed restore can begin.
func (u *unpacking) checkpoint(at int64) error {
	for u.next < len(u.frames) && u.frames[u.next].At < at {
		u.next++
	}
	if u.r.old != nil || u.since < u.r.o.Checkpoint || u.next == len(u.frames) || u.frames[u.next].At != at {
		return nil
	}
	if err := u.w.drain(); err != nil {
		return err
	}
	u.since = 0
	u.r.state.At = at
	if u.sums != nil {
		u.r.state.Before = u.sums.Of(u.frames[u.next].Offset)
	}
	return u.r.checkpoint()
}

// checkpoint makes everything durable, and then the state that says so.
func (r *run) checkpoint() error {
	if err := r.sync(); err != nil {
		return err
	}
	return r.save()
}

// item puts one entry into the HOME, if it is wanted.
func (u *unpacking) item(i *backup.Item) error {
	if _, wanted := u.need[i.At]; i.Dir || u.need != nil && !wanted {
		return nil
	}
	if strings.HasPrefix(i.Name, "config/") {
		// The newest counts; an incremental backup of the original has none.
		if !u.last && !u.m.Original() {
			return nil
		}
		return u.put(i)
	}
	if u.superseded[i.Name] {
		return nil
	}
	if u.cut != nil {
		take, err := u.cut.Take(i.Name, i.Size, i.Content())
		if err != nil || !take {
			return err
		}
	}
	if u.after != 0 && u.r.copies.Describe(i.Name).Linked {
		b, err := io.ReadAll(i.Content())
		if err != nil {
			return err
		}
		return u.write(i, u.r.copies.Over(i.Name, b, u.after), nil)
	}
	return u.put(i)
}

func (u *unpacking) put(i *backup.Item) error {
	if i.Data != nil {
		return u.write(i, i.Data, nil)
	}
	return u.write(i, nil, entry{i.Content(), u.r.o.Repository.Store.Path(u.m.Archive.Name)})
}

// entry is the content of an entry. Its errors name the archive.
type entry struct {
	content io.Reader
	archive string
}

// Read implements [io.Reader].
func (e entry) Read(b []byte) (int, error) {
	n, err := e.content.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", e.archive, err)
	}
	return n, err
}

func (u *unpacking) write(i *backup.Item, data []byte, large io.Reader) error {
	u.r.result.Files++
	u.r.result.Bytes += i.Size
	u.since += i.Size
	if u.r.o.Progress != nil {
		u.r.o.Progress(backup.Progress{Files: u.r.result.Files, Bytes: u.r.result.Bytes})
	}
	f := file{name: i.Name, data: data, modTime: i.ModTime}
	if large != nil {
		return u.r.writeLarge(f, large)
	}
	return u.w.add(f)
}

// file is one file that is to be written.
type file struct {
	name    string
	data    []byte
	modTime time.Time
}

// writeback is after how many bytes of a file the disk is asked to begin with them.
const writeback = 8 << 20

// target is the HOME that grows, as writers see it.
type target struct {
	vfs.FS
	syncEach bool // see run
}

// write makes a file anew; an existing file of that name goes, and is never written to:
// it may be linked to a file of the old copy.
func (t target) write(f file, content io.Reader) error {
	out, err := t.fill(f, content, nil)
	if err == nil && t.syncEach {
		err = out.SyncTimes()
	}
	if out != nil {
		err = errors.Join(err, out.Close())
	}
	return err
}

// fill makes a file, and leaves it open. The buffer may be nil.
func (t target) fill(f file, content io.Reader, buffer []byte) (out vfs.File, err error) {
	if out, err = t.create(f.name); err != nil {
		return nil, err
	}
	_, err = io.CopyBuffer(&vfs.Writeback{File: out, Step: writeback}, content, buffer)
	if err == nil && !f.modTime.IsZero() {
		err = t.SetModTime(f.name, f.modTime)
	}
	return out, err
}

func (t target) create(name string) (out vfs.File, err error) {
	out, err = t.Create(name)
	if errors.Is(err, fs.ErrExist) {
		if err = t.Remove(name); err == nil {
			out, err = t.Create(name)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = vfs.MkdirAll(t, path.Dir(name)); err == nil {
			out, err = t.Create(name)
		}
	}
	return out, err
}

// writers write small files side by side.
type writers struct {
	fs   target
	jobs chan func()
	pool sync.WaitGroup
	busy sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu; the first
}

func newWriters(to target, n int) *writers {
	w := &writers{fs: to, jobs: make(chan func(), 2*n)}
	for range n {
		w.pool.Go(func() {
			for job := range w.jobs {
				job()
				w.busy.Done()
			}
		})
	}
	return w
}

// do runs a job, later or now. The error is that of an earlier one.
func (w *writers) do(job func() error) error {
	w.mu.Lock()
	err := w.err
	w.mu.Unlock()
	if err != nil {
		return err
	}
	w.busy.Add(1)
	w.jobs <- func() {
		if err := job(); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.err == nil {
				w.err = err
			}
		}
	}
	return nil
}

func (w *writers) add(f file) error {
	return w.do(func() error { return w.fs.write(f, bytes.NewReader(f.data)) })
}

// drain waits until all is written.
func (w *writers) drain() error {
	w.busy.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// wait ends the writers.
func (w *writers) wait() error {
	close(w.jobs)
	w.pool.Wait()
	return w.err
}

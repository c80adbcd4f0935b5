package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// lockName is held while somebody is at work in the directory of the trials.
const lockName = layout.ProbeDir + "/lock"

// try makes the directory of the trials, makes them, and removes it. writable: it could be made.
func (x *examination) try(ctx context.Context) (writable bool, err error) {
	if x.known && x.mount.Has("ro") {
		return false, nil // which was found
	}
	held, err := x.enter()
	switch {
	case errors.Is(err, ErrBusy):
		return false, err
	case vfs.IsReadOnly(err):
		if !x.has("read-only") {
			x.find("read-only", "%v", err)
		}
		return false, nil
	case errors.Is(err, fs.ErrPermission):
		x.find("not-writable", "%v", err)
		return false, nil
	case err != nil:
		x.untried(err)
		return true, x.leave(held)
	}
	for _, trial := range []func(context.Context) error{x.renames, x.syncs, x.locks, x.exchange, x.links, x.names, x.times} {
		if err = ctx.Err(); err == nil {
			err = trial(ctx)
		}
		if err != nil {
			break
		}
	}
	if err != nil && ctx.Err() == nil {
		x.untried(err)
		err = nil
	}
	return true, errors.Join(err, x.leave(held))
}

// has reports whether there is a finding of a kind.
func (x *examination) has(name string) bool {
	return slices.ContainsFunc(x.r.Findings, func(f Finding) bool { return f.Kind == name })
}

// untried adds the finding about an error that is not about the tried promise.
func (x *examination) untried(err error) {
	if vfs.SaysFull(err) {
		x.find("space-none", "%v", err)
		return
	}
	x.find("not-tried", "%v", err)
}

// triesToEnter is how often the directory is made, because another doctor removes it at its end.
const triesToEnter = 10

// enter makes the directory of the trials, after the removal of one that a killed doctor left.
// held is nil where locks do not work, which the trial of locks finds.
func (x *examination) enter() (held vfs.Lock, err error) {
	f := x.o.FS
	for range triesToEnter {
		if err = f.Mkdir(layout.ProbeDir); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		left := errors.Is(err, fs.ErrExist)
		held, err = f.Lock(lockName)
		switch {
		case errors.Is(err, vfs.ErrLocked):
			return nil, fmt.Errorf("%s: %w", f.Path(layout.ProbeDir), ErrBusy)
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission) || vfs.SaysFull(err):
			return nil, errors.Join(err, x.leave(nil))
		case err != nil:
			held = nil
		case held.Check() != nil:
			if err := held.Close(); err != nil {
				return nil, err
			}
			continue // the other one has removed it
		}
		if left {
			if err := x.clear(); err != nil {
				return held, err
			}
		}
		return held, nil
	}
	return nil, ErrBusy
}

// clear removes all files of trials but the lock: those that were made, even if they are listed under other
// names, and those that are listed.
func (x *examination) clear() error {
	names := slices.Clone(x.made)
	for e, err := range x.o.FS.List(layout.ProbeDir) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		if e.Name != "lock" && !hidden(e.Name) {
			names = append(names, in(e.Name))
		}
	}
	for _, name := range names {
		if err := x.o.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// leave removes the directory of the trials. The lock goes last. NFS and FUSE keep a removed file that is
// open under another name until it is closed, so there the directory can be removed only after that.
func (x *examination) leave(held vfs.Lock) error {
	err := x.remove()
	if held != nil {
		closed := held.Close()
		if err != nil {
			err = x.remove()
		}
		err = errors.Join(err, closed)
	}
	if err != nil {
		return fmt.Errorf("remove the files of the trials: %w", err)
	}
	return nil
}

func (x *examination) remove() error {
	err := x.clear()
	for _, name := range []string{lockName, layout.ProbeDir} {
		if rerr := x.o.FS.Remove(name); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// hidden reports whether a file was removed, and is there only for as long as somebody has it open.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".nfs") || strings.HasPrefix(name, ".fuse_hidden")
}

// in is the path of a file of a trial.
func in(name string) string { return layout.ProbeDir + "/" + name }

// put makes a file.
func (x *examination) put(name string, content []byte) error {
	x.made = append(x.made, name)
	f, err := x.o.FS.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// renamesInARow is how often a file is replaced while another goroutine reads it.
const renamesInARow = 50

// renames replaces a file, again and again, under the eyes of a reader.
func (x *examination) renames(ctx context.Context) error {
	n := renamesInARow
	if x.o.Quick {
		n = 1
	}
	contents := [][]byte{bytes.Repeat([]byte("old "), 16), bytes.Repeat([]byte("new "), 16)}
	name, other := in("rename"), in("rename-new")
	if err := x.put(name, contents[0]); err != nil {
		return err
	}
	end := make(chan struct{})
	seen := make(chan error, 1)
	go func() {
		for {
			b, err := x.o.FS.ReadFile(name)
			if err == nil && !bytes.Equal(b, contents[0]) && !bytes.Equal(b, contents[1]) {
				err = fmt.Errorf("it has %d other bytes", len(b))
			}
			if err != nil && !vfs.Passes(err) {
				seen <- err
				return
			}
			select {
			case <-end:
				seen <- nil
				return
			default:
			}
		}
	}()
	failed, err := x.replace(ctx, n, name, other, contents)
	close(end)
	torn := <-seen
	switch {
	case err != nil:
		return err
	case failed != nil && !vfs.SaysFull(failed):
		x.find("rename-failed", "%v", failed)
	case failed != nil:
		return failed
	case torn != nil:
		x.find("rename-not-atomic", "while a file was replaced a reader saw: %v", torn)
	case !x.has("rename-not-atomic"):
		x.good("rename", "%d of %d renames replaced a file at once", n, n)
	}
	return nil
}

// replace renames one file over another. failed is the error of a rename, err any other.
func (x *examination) replace(ctx context.Context, n int, name, other string, contents [][]byte) (failed, err error) {
	for i := range n {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		content := contents[(i+1)%2]
		if err := x.put(other, content); err != nil {
			return nil, err
		}
		if err := x.o.FS.Rename(other, name); err != nil {
			return err, nil
		}
		b, err := x.o.FS.ReadFile(name)
		if err != nil || !bytes.Equal(b, content) {
			x.find("rename-not-atomic", "after a rename the new name has other content (%v)", err)
			return nil, nil
		}
		if _, err := x.o.FS.Stat(other); !errors.Is(err, fs.ErrNotExist) {
			x.find("rename-not-atomic", "after a rename the old name is still there (%v)", err)
			return nil, nil
		}
	}
	return nil, nil
}

// Latencies of an fsync by which it is judged.
const (
	instant  = 10 * time.Microsecond
	moderate = 10 * time.Millisecond
	slow     = 50 * time.Millisecond

	syncsInARow = 32
	syncTime    = 3 * time.Second // no more of them after that
	syncBlock   = 4 << 10
)

// syncs measures the sync of a file, as a commit does it, and of a directory.
func (x *examination) syncs(ctx context.Context) error {
	took, failed, err := x.syncFile(ctx)
	if err != nil {
		return err
	}
	if failed != nil {
		x.find("fsync-failed", "%v", failed)
		return nil
	}
	if err := x.put(in("name"), nil); err != nil {
		return err
	}
	begun := x.o.Steady()
	err = x.o.FS.SyncDir(layout.ProbeDir)
	ofDir := x.o.Steady() - begun
	if set := x.settings(); err != nil && set != nil && !(set.Filesystem.Sync && set.POSIX.DirSync) {
		err = nil // nobody relies on it, which has a finding of its own
	}
	if err != nil {
		x.find("directory-fsync-failed", "%v", err)
		return nil
	}
	x.judgeSyncs(took, ofDir)
	return nil // a syncfs would wait for the writes of all programs on the disk
}

// syncFile writes and syncs. failed is an error of that which does not pass.
func (x *examination) syncFile(ctx context.Context) (took []time.Duration, failed, err error) {
	n := syncsInARow
	if x.o.Quick {
		n = 1
	}
	f, err := x.o.FS.Create(in("sync"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := bytes.Repeat([]byte("sync"), syncBlock/4)
	if err := f.Allocate(int64(n * syncBlock)); err != nil {
		return nil, nil, err
	}
	if failed := f.Sync(); failed != nil { // of the size
		return nil, failed, nil
	}
	total := time.Duration(0)
	for i := range n {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if _, err := f.WriteAt(block, int64(i*syncBlock)); err != nil && !vfs.Passes(err) {
			return nil, err, nil
		} else if err != nil {
			return nil, nil, err
		}
		begun := x.o.Steady()
		if failed := f.Sync(); failed != nil {
			return nil, failed, nil
		}
		took = append(took, x.o.Steady()-begun)
		if total += took[i]; total > syncTime {
			break
		}
	}
	slices.Sort(took)
	return took, nil, nil
}

// judgeSyncs says the latency of syncs, in order.
func (x *examination) judgeSyncs(took []time.Duration, ofDir time.Duration) {
	median, worst := took[len(took)/2], took[len(took)-1]
	if x.o.Quick {
		if median >= slow {
			x.find("fsync-slow", "a sync of a file took %s", round(median))
		}
		return
	}
	rate := int64(time.Second / max(median, 1))
	text := fmt.Sprintf("%s, the median of %d (worst %s, of a directory %s): up to %s a second, one after another", round(median), len(took), round(worst), round(ofDir), human.Number(int64(rate), "commit"))
	switch inMemory := x.known && slices.Contains(memory, x.mount.Type); {
	case median >= slow:
		x.find("fsync-slow", "a sync takes %s", text)
	case median >= moderate:
		x.find("fsync-moderate", "a sync takes %s", text)
	case median < instant && !inMemory:
		x.find("fsync-instant", "a sync takes %s, the median of %d", median, len(took))
	default:
		x.good("fsync", "a sync takes %s", text)
	}
}

// round leaves two digits or three.
func round(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}

package restore

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// One restore at a time works on a target. It holds a lock from before it looks for the work of an
// earlier one until the target is whole and nothing is beside it. Kinds of restores that could meet
// have a lock in common:
//
//   - One in place locks the target itself, in which it leaves no file so, and which keeps its name.
//   - Every other one locks a file beside the target, because that gets its name, or another directory
//     takes it. The file is removed before the lock is given back. After a kill it lies there,
//     locked by nobody.
//   - Whether the target is empty is decided with the target locked. One that was is the place of
//     that restore alone until it is done.
//   - Where a directory cannot be locked, such as on NFS, all of them lock the file.

// lockSuffix is the end of the name of the file beside the target.
const lockSuffix = ".restoring.lock"

// most is how often the file is locked anew because the restore that had it has removed it.
const most = 100

// lock locks the target, and finds out whether the HOME grows in it.
func (r *run) lock() error {
	err := r.tryLock()
	if errors.Is(err, vfs.ErrLocked) {
		err = fmt.Errorf("restore %s: %w: %w", r.o.Parent.Path(r.o.Name), ErrRunning, err)
	}
	return err
}

func (r *run) tryLock() error {
	p := r.o.Parent
	info, err := p.Stat(r.o.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lockable := err == nil && info.IsDir()
	if lockable {
		held, err := p.LockDir(r.o.Name)
		if lockable = !errors.Is(err, vfs.ErrNotSupported); lockable && err != nil {
			return err
		}
		if lockable {
			if r.inPlace, err = r.emptyTarget(); err == nil && r.inPlace {
				r.held = held
				return nil
			}
			if err := errors.Join(err, held.Close()); err != nil {
				return err
			}
		}
	}
	if err := r.lockBeside(); err != nil || lockable {
		return err
	}
	if r.inPlace, err = r.emptyTarget(); err != nil {
		err = errors.Join(err, r.unlock(false))
	}
	return err
}

// lockBeside takes the lock of the file.
func (r *run) lockBeside() (err error) {
	r.lockFile = r.o.Name + lockSuffix
	for range most {
		if r.held, err = r.o.Parent.Lock(r.lockFile); err != nil {
			return err
		}
		if err = r.held.Check(); err == nil {
			return nil
		}
		err = errors.Join(err, r.held.Close())
	}
	return err
}

// stillLocked returns an error that matches errAgain if somebody has taken the lock away by hand, so
// that the work may be that of another restore by now.
func (r *run) stillLocked() error {
	if err := r.held.Check(); err != nil {
		return fmt.Errorf("%w: another restore may have changed %s meanwhile; %w", err, r.o.Parent.Path(r.work), errAgain)
	}
	return nil
}

// unlock gives the lock back; done: durably, so that a power cut does not bring the file back beside
// a target that is ready.
func (r *run) unlock(done bool) error {
	var err error
	if r.lockFile != "" && r.held.Check() == nil { // else the file is another one's
		if err = r.o.Parent.Remove(r.lockFile); err == nil && done {
			err = r.o.Parent.SyncDir(".")
		}
	}
	return errors.Join(err, r.held.Close())
}

package pack

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// The names of the files of a pack, below HOME. [Files] alone touches them.
const (
	planName   = "misc/pack"
	asideName  = "misc/pack-new"
	sparedName = "misc/pack-spared"
	planDir    = "misc"
)

// Pending reports whether a HOME has the plan of a pack that was interrupted.
func Pending(f vfs.FS) (bool, error) {
	_, err := f.Stat(planName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Files are the files of a pack in misc/ of a HOME: the plan, and the list of the objects
// in it that are spared.
//
// The next open carries out a plan that it finds, however the pack ended. An
// open may find it from before it is given its name until its removal is durable,
// however many errors or crashes lie between. All of that time [Files.Spare] is
// durable when it returns, and [Files.Found] reports true.
//
// The calls are those of one pack, one at a time, but for Spare and Found: these
// may come at any time, from any goroutine.
type Files struct {
	fs   vfs.FS
	sync vfs.SyncOptions

	aside vfs.File // the plan, while it is written; the pack's

	mu     sync.Mutex // guards the fields below; it is not held over the plan's operations
	state  fileState  // set by the pack alone
	spared vfs.File   // nil: it could not be opened yet
	size   int64      // of the records in it that count
	before []byte     // records of a process before, until they are written anew
}

// fileState is how far the files of a pack are.
type fileState uint8

const (
	noPlan  fileState = iota // durably
	writing                  // under another name, where nobody looks for it
	whole                    // durably so, still under that name; the list of spared objects has a file
	named                    // an open may find it
	leaving                  // the same, but it is going to be removed
)

// OpenFiles looks whether a process before has left a plan. A plan that it finds is made
// durable first: that process may have been killed between a change and its fsync. spared
// are the objects that were spared.
func OpenFiles(f vfs.FS, o vfs.SyncOptions) (files *Files, found bool, spared []zodb.OID, err error) {
	files = &Files{fs: f, sync: o}
	if err := files.syncNames(); err != nil {
		return nil, false, nil, err
	}
	if found, err = Pending(f); err != nil || !found {
		return files, false, nil, err
	}
	files.state = named
	b, err := f.ReadFile(sparedName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil, err
	}
	spared = parseSpared(b)
	files.before = appendSpared(nil, spared)
	return files, true, spared, nil
}

func (f *Files) is() fileState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

func (f *Files) set(st fileState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = st
}

// Begin makes the file of a plan, under another name. It holds nothing yet.
func (f *Files) Begin() (io.Writer, error) {
	if f.is() != noPlan {
		return nil, errors.New("the plan of the pack before is still there")
	}
	// A pack that was interrupted may have left one.
	if err := f.fs.Remove(asideName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := f.fs.Create(asideName)
	if err != nil {
		return nil, err
	}
	f.set(writing)
	f.aside = file
	return file, nil
}

// Complete makes the plan durable, all of which was written, and the file of spared
// objects, name and all. The caller has to repeat the objects spared until now.
func (f *Files) Complete() error {
	if st := f.is(); st != writing || f.aside == nil {
		return fmt.Errorf("a plan is completed in state %d", st)
	}
	if f.sync.File {
		if err := f.aside.Sync(); err != nil {
			return err
		}
	}
	if err := f.closeAside(); err != nil {
		return err
	}
	if err := f.fs.Remove(sparedName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.openSpared(); err != nil {
		return err
	}
	f.state = whole
	return nil
}

// Name gives the plan its name: from here on it is going to be carried out. With an
// error, too, an open may find it.
func (f *Files) Name() error {
	if st := f.is(); st != whole {
		return fmt.Errorf("a plan is named in state %d", st)
	}
	f.set(named)
	if err := f.fs.Rename(asideName, planName); err != nil {
		return err
	}
	return f.syncNames()
}

// Plan opens the plan for reading.
func (f *Files) Plan() (vfs.File, error) { return f.fs.Open(planName) }

// Path returns where the plan is, for messages.
func (f *Files) Path() string { return f.fs.Path(planName) }

// Found reports whether an open may find the plan, and carry it out.
func (f *Files) Found() bool {
	return f.is() >= named
}

// Spare makes it durable that objects stay against the plan, and also those that were
// spared before a restart. As long as the plan is not whole it does nothing. After an
// error nothing more is spared than before; it may be tried again.
func (f *Files) Spare(oids ...zodb.OID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state < whole {
		return nil
	}
	if err := f.openSpared(); err != nil {
		return err
	}
	if len(oids) == 0 {
		return nil
	}
	// If an earlier attempt failed, this one writes to the same place anew.
	b := appendSpared(nil, oids)
	if _, err := f.spared.WriteAt(b, f.size); err != nil {
		return err
	}
	if f.sync.File {
		if err := f.spared.Sync(); err != nil {
			return err
		}
	}
	f.size += int64(len(b))
	return nil
}

// openSpared opens the file of spared objects, makes it if it is not there, and writes
// the records of a process before anew: its fsync may have failed. The name is durable
// when it returns. mu must be held.
func (f *Files) openSpared() error {
	if f.spared != nil {
		return nil
	}
	file, err := f.fs.OpenWrite(sparedName)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = f.fs.Create(sparedName)
	}
	if err != nil {
		return err
	}
	if len(f.before) > 0 {
		_, err = file.WriteAt(f.before, 0)
	}
	if err == nil && f.sync.File {
		err = file.Sync()
	}
	if err == nil {
		err = f.syncNames()
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.spared, f.size, f.before = file, int64(len(f.before)), nil
	return nil
}

// End removes the plan, durably, whether it was carried out or not. Spared objects stay
// so until [Files.Discard]. If there is an error and [Files.Found] reports true, it is to
// be called again. Without a plan it does nothing.
func (f *Files) End() error {
	st := f.is()
	if st >= named {
		f.set(leaving)
		if err := f.remove(st == leaving); err != nil {
			return err
		}
	}
	err := f.closeAside()
	if st != noPlan {
		if rerr := f.fs.Remove(asideName); !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	f.set(noPlan)
	return err
}

// remove removes the plan, durably; again: an attempt before has failed.
func (f *Files) remove(again bool) error {
	err := f.fs.Remove(planName)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
		if again {
			// The fsync after the removal has failed, and another one that does not
			// proves nothing. So there is a change anew: an empty file is not a plan.
			err = f.removeAnew()
		}
	}
	if err == nil {
		err = f.syncNames()
	}
	return err
}

func (f *Files) removeAnew() error {
	file, err := f.fs.Create(planName)
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), f.fs.Remove(planName))
}

func (f *Files) closeAside() error {
	if f.aside == nil {
		return nil
	}
	err := f.aside.Close()
	f.aside = nil
	return err
}

// Discard removes the file of spared objects, after End: without a plan it means
// nothing. Nobody calls Spare any more.
func (f *Files) Discard() error {
	err := f.Close()
	if f.Found() {
		return err
	}
	if rerr := f.fs.Remove(sparedName); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// Close closes the open files. The files stay.
func (f *Files) Close() error {
	err := f.closeAside()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spared != nil {
		err = errors.Join(err, f.spared.Close())
		f.spared = nil
	}
	f.before = nil
	return err
}

// syncNames makes the names in misc durable.
func (f *Files) syncNames() error {
	if !f.sync.Dir {
		return nil
	}
	return f.fs.SyncDir(planDir)
}

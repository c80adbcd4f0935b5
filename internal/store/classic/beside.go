package classic

import (
	"bufio"
	"errors"
	"io"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// asideBesideFile is where a file is written that lies beside marks and blobs.
const asideBesideFile = "journal/aside-beside"

// besideWriteback is after how many bytes the disk is asked to begin with them.
const besideWriteback = 8 << 20

// The methods below are for a store that keeps its records in files of its own, and leaves the
// marks and blobs beside them to a Store of [layout.Bundled]. The names are relative to HOME. It is
// used by the goroutine that puts files. Nothing is durable before [Store.Sync] returned nil, but
// the content and the time stamp of a file are before it has its name.

// PutBeside writes a file aside and gives it its name, replacing a file of that name.
func (t *Store) PutBeside(name string, write func(w io.Writer) error) error {
	b, err := t.CreateBeside()
	if err != nil {
		return err
	}
	if err := write(b); err != nil {
		return errors.Join(err, b.Drop())
	}
	return b.Name(name)
}

// Beside is a file that is written aside. Either Name or Drop ends it.
type Beside struct {
	*bufio.Writer
	t *Store
	f vfs.File
}

// CreateBeside begins a file; there is one at a time.
func (t *Store) CreateBeside() (*Beside, error) {
	f, err := vfs.CreateAnew(t.fs, asideBesideFile)
	if err != nil {
		return nil, err
	}
	early := &vfs.Writeback{File: f, Step: besideWriteback}
	return &Beside{Writer: bufio.NewWriterSize(early, 64<<10), t: t, f: f}, nil
}

// Name gives the file its name, in the place of a file that has it. With an error it is dropped.
func (b *Beside) Name(name string) error {
	t := b.t
	err := b.Flush()
	if err == nil {
		err = t.restamp(asideBesideFile)
	}
	if err == nil && t.o.Sync {
		err = b.f.SyncTimes()
	}
	if err != nil {
		return errors.Join(err, b.Drop())
	}
	if err := b.f.Close(); err != nil {
		return errors.Join(err, t.fs.Remove(asideBesideFile))
	}
	if err := t.renameAside(asideBesideFile, name); err != nil {
		return err
	}
	t.debts.name(dirOf(name))
	return nil
}

// Drop removes the file.
func (b *Beside) Drop() error { return errors.Join(b.f.Close(), b.t.fs.Remove(asideBesideFile)) }

// asideMergeFile is where [Store.WriteAside] writes.
const asideMergeFile = "journal/aside-merge"

// WriteAside writes a file that gets its name by [Store.NameAside], and makes its content durable.
// It may be called beside the goroutine that puts files, one call at a time. With an error there is
// no such file.
func (t *Store) WriteAside(write func(f vfs.File) error) error {
	f, err := vfs.CreateAnew(t.fs, asideMergeFile)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil && t.o.Sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, t.DropAside())
	}
	return nil
}

// DropAside removes the file of [Store.WriteAside]. It is no error if it is not there.
func (t *Store) DropAside() error {
	err := t.fs.Remove(asideMergeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// NameAside gives the file of [Store.WriteAside] its name, which is new, durably, and the time of
// now. With an error that name may be there and may be lost again in a power cut, which keeps
// nothing else from becoming durable: the caller sees to that.
func (t *Store) NameAside(name string) error {
	err := t.restamp(asideMergeFile)
	if err == nil && t.o.Sync {
		err = t.syncTimes(asideMergeFile)
	}
	if err == nil {
		err = t.fs.Rename(asideMergeFile, name)
	}
	if err != nil {
		return errors.Join(err, t.DropAside())
	}
	return t.syncDir(dirOf(name))
}

// syncDir makes the names of a directory durable. No debt of others is paid by that: should it
// fail, theirs would be lost.
func (t *Store) syncDir(dir string) error {
	if !t.o.Sync || !t.o.DirSync {
		return nil
	}
	return t.fs.SyncDir(dir)
}

// MoveBeside gives a file another name, as files move from B to A.
func (t *Store) MoveBeside(from, to string) error { return t.move(asideFile, from, to) }

// RemoveBeside removes a file. It is no error if it is not there.
func (t *Store) RemoveBeside(name string) error {
	err := t.fs.Remove(name)
	t.debts.name(dirOf(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RelyOnBeside makes durable a file that a process before this one has left, where
// [Store.SyncFound] could not do that for all files.
func (t *Store) RelyOnBeside(name string) error {
	if t.debts.doubts == nil {
		return nil
	}
	t.debts.name(dirOf(name))
	return t.syncTimes(name)
}

// RelyOnDirectory makes durable that names are not there any more in a directory with files beside, if a
// process before this one has removed them, where [Store.SyncFound] could not do that. [Store.Sync] does it.
func (t *Store) RelyOnDirectory(dir string) {
	if t.doubtful() {
		t.debts.name(dir)
	}
}

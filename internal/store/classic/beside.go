package classic

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
)

// asideBesideFile is where a file is written that lies beside marks and blobs.
const asideBesideFile = "journal/aside-beside"

// What follows is for a store that keeps its records in files of its own, beside the marks and
// the blobs that it leaves to a Store of [layout.Bundled]. The names are relative to HOME. It is
// used by the goroutine that puts files. Nothing is durable before [Store.Sync] returned nil, but
// the content and the time stamp of a file are before it has its name.

// PutBeside writes a file aside and gives it its name, over what is there.
func (t *Store) PutBeside(name string, write func(w io.Writer) error) error {
	f, err := t.fs.Create(asideBesideFile)
	if errors.Is(err, fs.ErrExist) {
		if err = t.fs.Remove(asideBesideFile); err == nil {
			f, err = t.fs.Create(asideBesideFile)
		}
	}
	if err != nil {
		return err
	}
	stamp := t.stamp()
	w := bufio.NewWriterSize(f, 256<<10)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		if at := stamp(); !at.IsZero() {
			err = t.fs.SetModTime(asideBesideFile, at)
		}
	}
	if err == nil && t.o.Sync {
		err = f.SyncTimes()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, t.fs.Remove(asideBesideFile))
	}
	if err := t.renameAside(asideBesideFile, name); err != nil {
		return err
	}
	t.debts.name(dirOf(name))
	return nil
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

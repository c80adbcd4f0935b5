package classic

import (
	"errors"
	"io/fs"
	"syscall"
)

// move gives a file that nothing can make again another name: it is linked under the
// new one, and [Store.Sync] takes the old one away when the new one is durable. For a
// rename is two changes of names, in two directories, and after a power cut some file
// systems have both of them and others neither. So a file may have both names
// after a crash, or an error; then a move that is repeated only takes the old one away.
// A file under the new name is replaced, by way of aside, a name in journal/.
func (t *Store) move(aside, from, to string) error {
	err := t.link(from, to)
	if errors.Is(err, fs.ErrExist) {
		err = t.moveOver(aside, from, to)
	}
	if noLinks(err) {
		// A rename does nothing to a second name of the same file; it is taken away all
		// the same.
		err = t.rename(from, to)
	}
	if err != nil {
		return err
	}
	t.debts.moved(from)
	t.debts.name(dirOf(to))
	return nil
}

// link gives a file a second name, in a directory that may be missing.
func (t *Store) link(from, to string) error {
	err := t.fs.Link(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = t.mkdirs(dirOf(to)); err == nil {
			err = t.fs.Link(from, to)
		}
	}
	if err != nil {
		t.mayHaveChanged(to)
	}
	return err
}

// moveOver is move to a name that exists.
func (t *Store) moveOver(aside, from, to string) error {
	is, err := t.fs.Stat(from)
	if err != nil {
		return err
	}
	was, err := t.fs.Stat(to)
	if err != nil {
		return err
	}
	if is.Ino == was.Ino && is.Dev == was.Dev {
		return nil
	}
	err = t.fs.Link(from, aside)
	if errors.Is(err, fs.ErrExist) {
		if err = t.fs.Remove(aside); err == nil {
			err = t.fs.Link(from, aside)
		}
	}
	if err != nil {
		return err
	}
	return t.renameAside(aside, to)
}

// noLinks reports whether a file system, or its rules for links, has no second name
// for a file.
func noLinks(err error) bool {
	for _, e := range []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EMLINK} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// moved notes a name that has to go when the sync after this has succeeded.
func (d *debts) moved(from string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.old = append(d.old, from)
}

// forgetMoves is for an attempt that failed: the next one finds files with two names
// and moves them again. To go on removing would be wrong, since by then a flush may have put
// something else under such a name.
func (d *debts) forgetMoves() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.old = nil
}

// removeOld takes away the old names of files that were moved before the last sync. That
// they are gone is durable after the next one; until then a crash may bring them back.
func (t *Store) removeOld() error {
	t.debts.mu.Lock()
	names := t.debts.old
	t.debts.old = nil
	t.debts.mu.Unlock()
	for _, name := range names {
		err := t.fs.Remove(name)
		t.debts.name(dirOf(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

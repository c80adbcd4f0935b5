//go:build unix

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A file that root makes in a directory of another user belongs to that user, as if that user had
// made it: so a command run by root leaves nothing that a service cannot open. In a directory of
// root's, as /tmp is, it belongs to root.

// owner is the user and the group of a file.
type owner struct{ uid, gid int }

// ownerIn returns the owner of files that root makes in a directory; ok is false if it is root.
func ownerIn(st *unix.Stat_t) (o owner, ok bool) {
	return owner{int(st.Uid), int(st.Gid)}, st.Uid != 0
}

// inherited is ownerIn for a file at path.
func (f *osFS) inherited(path string) (o owner, ok bool) {
	if !f.super {
		return owner{}, false
	}
	dir := filepath.Dir(path)
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(dir, &st) }); err != nil {
		return owner{}, false
	}
	return ownerIn(&st)
}

// createFD makes a file that must not exist. The error is that of the system call.
func (f *osFS) createFD(path string, flag int, mode uint32) (fd int, err error) {
	fd = -1
	flag |= unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC
	err = f.make(path, func(dir int, name string) (err error) {
		fd, err = unix.Openat(dir, name, flag, mode)
		return err
	})
	if err != nil && fd >= 0 { // it was made, and could not be given away
		_ = unix.Close(fd)
	}
	return fd, err
}

// create is createFD for a file that is written in parts.
func (f *osFS) create(path string, flag int) (*os.File, error) {
	fd, err := f.createFD(path, flag, fileMode)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (f *osFS) mkdir(path string) error {
	err := f.make(path, func(dir int, name string) error { return unix.Mkdirat(dir, name, dirMode) })
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	return nil
}

// make calls one that makes the name in an open directory.
func (f *osFS) make(path string, call func(dir int, name string) error) error {
	if !f.super {
		return retry(func() error { return call(unix.AT_FDCWD, path) })
	}
	above, name := filepath.Split(path)
	var dir int
	err := retry(func() (err error) {
		dir, err = unix.Open(above, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(dir) // it was only read
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(dir, &st) }); err != nil {
		return err
	}
	o, ok := ownerIn(&st)
	if ok {
		err := f.actAs(o, func() error { return retry(func() error { return call(dir, name) }) })
		if !errors.Is(err, ErrNotSupported) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if err := retry(func() error { return call(dir, name) }); err != nil || !ok {
		return err
	}
	// Where it can be given away, and nobody has put another thing in its place, it is.
	err = retry(func() error { return f.chownAt(dir, name, o) })
	if keepsOwner(err) {
		return nil
	}
	if err != nil { // as if it had not been made, so that the next attempt can make it
		for _, flag := range []int{0, unix.AT_REMOVEDIR} {
			if unix.Unlinkat(dir, name, flag) == nil {
				break
			}
		}
	}
	return err
}

func chownAt(dir int, name string, o owner) error {
	return unix.Fchownat(dir, name, o.uid, o.gid, unix.AT_SYMLINK_NOFOLLOW)
}

// keepsOwner reports whether a change of the owner failed because there is no such thing
// here: root without the right to do it, a user that the name space does not
// have, a file system without owners.
func keepsOwner(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP)
}

// openOrCreate opens a file that is made if it does not exist. In a directory of another
// user root follows no symbolic link: that user could let it write anywhere.
func (f *osFS) openOrCreate(path string) (*os.File, error) {
	flag := os.O_RDWR
	if _, foreign := f.inherited(path); foreign {
		flag |= unix.O_NOFOLLOW
	}
	for {
		file, err := os.OpenFile(path, flag, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
		file, err = f.create(path, flag)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
		if _, serr := os.Stat(path); serr != nil { // a link that leads nowhere
			return nil, err
		}
	}
}

// ours reports whether a file at path belongs to the process, or to the user for
// whom root works there.
func (f *osFS) ours(uid uint32, path string) bool {
	if int(uid) == os.Geteuid() {
		return true
	}
	o, ok := f.inherited(path)
	return ok && o.uid == int(uid)
}

// giver is an optional interface of an FS, for [SameOwner].
type giver interface {
	sameOwner(name, like string) error
}

// SameOwner gives a file or directory that the caller has made the owner of another
// one, if the caller is root; else, and on file systems without owners, it does nothing.
func SameOwner(f FS, name, like string) error {
	if g, ok := f.(giver); ok {
		return g.sameOwner(name, like)
	}
	return nil
}

func (f *osFS) sameOwner(name, like string) error {
	if !f.super {
		return nil
	}
	var st unix.Stat_t
	path := f.Path(like)
	if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	path = f.Path(name)
	err := retry(func() error { return unix.Lchown(path, int(st.Uid), int(st.Gid)) })
	if err != nil && !keepsOwner(err) {
		return &fs.PathError{Op: "chown", Path: path, Err: err}
	}
	return nil
}

// Stranger reports whether a file belongs to another user than the directory in which it is.
func Stranger(path string) bool {
	var file, dir unix.Stat_t
	err := errors.Join(unix.Lstat(path, &file), unix.Stat(filepath.Dir(path), &dir))
	return err == nil && file.Uid != dir.Uid
}

// IsMine reports whether a path, or the nearest directory above it that can be seen, belongs to
// the user of this process, who is not root. No path is nobody's.
func IsMine(path string) bool {
	if path == "" {
		return false
	}
	var at unix.Stat_t
	for {
		if unix.Lstat(path, &at) == nil {
			return at.Uid != 0 && int(at.Uid) == unix.Geteuid()
		}
		above := filepath.Dir(path)
		if above == path {
			return false
		}
		path = above
	}
}

// StrangerBelow reports whether a path, or a directory on the way to it from top, belongs to
// another user than top. Of a symbolic link the owner of the target counts, not that of the link. A
// file that does not exist, or cannot be seen, does not count.
func StrangerBelow(top, path string) bool {
	var owner, at unix.Stat_t
	if unix.Stat(top, &owner) != nil {
		return false
	}
	for ; len(path) > len(top); path = filepath.Dir(path) {
		if unix.Stat(path, &at) == nil && at.Uid != owner.Uid {
			return true
		}
	}
	return false
}

// LinkBelow returns the symbolic link on the way from the directory top to a path that is nearest
// to the path, and the directory or file to which it leads; "" if there is none, or it cannot be
// seen.
func LinkBelow(top, path string) (link, target string) {
	var at unix.Stat_t
	for ; len(path) > len(top); path = filepath.Dir(path) {
		if unix.Lstat(path, &at) != nil || at.Mode&unix.S_IFMT != unix.S_IFLNK {
			continue
		}
		if target, err := filepath.EvalSymlinks(path); err == nil {
			return path, target
		}
	}
	return "", ""
}

// Holds reports whether a directory has all of these names; the contents do not matter.
func Holds(dir string, names ...string) bool {
	var at unix.Stat_t
	for _, name := range names {
		if unix.Lstat(filepath.Join(dir, name), &at) != nil {
			return false
		}
	}
	return true
}

// owned is an optional interface of an FS that knows the owners of its files.
type owned interface {
	Owner(name string) (uid, gid int, err error)
}

// Owner returns the user and the group of a file or directory. A symbolic link is not followed.
// ErrNotSupported if the FS does not know owners.
func Owner(f FS, name string) (uid, gid int, err error) {
	if o, ok := f.(owned); ok {
		return o.Owner(name)
	}
	return 0, 0, ErrNotSupported
}

// Owner is the method for [Owner].
func (f *osFS) Owner(name string) (uid, gid int, err error) {
	var st unix.Stat_t
	path := f.Path(name)
	if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
		return 0, 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return int(st.Uid), int(st.Gid), nil
}

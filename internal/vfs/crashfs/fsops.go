package crashfs

import (
	"iter"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// totalSpace is the size that Space reports if there is no limit.
const totalSpace = 1 << 40

// Open implements vfs.FS. Unlike the operating system's it opens no directories.
func (f *FS) Open(name string) (vfs.File, error) { return f.open(name, false) }

// OpenWrite implements vfs.FS.
func (f *FS) OpenWrite(name string) (vfs.File, error) { return f.open(name, true) }

func (f *FS) open(name string, writable bool) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.alive(); err != nil {
		return nil, f.pathError("open", name, err)
	}
	n, err := f.findFile(name)
	if err == nil && writable && n.mode&0o200 == 0 {
		err = syscall.EACCES
	}
	if err != nil {
		return nil, f.pathError("open", name, err)
	}
	return f.handle(name, n, writable), nil
}

// Create implements vfs.FS.
func (f *FS) Create(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.findFree(name)
	if err == nil {
		err = f.begin(sectorSize, "create %s", name)
	}
	if err != nil {
		return nil, f.pathError("create", name, f.first(err))
	}
	return f.handle(name, f.newFile(at), true), nil
}

// begin is step for an operation that makes an inode or needs other space.
// mu is held.
func (f *FS) begin(bytes int64, format string, args ...any) error {
	if err := f.alive(); err != nil {
		return err
	}
	if err := f.take(bytes); err != nil {
		return err
	}
	err := f.step(format, args...)
	if err != nil {
		f.used -= bytes
	}
	return err
}

// first returns ErrCrashed in place of any error after the crash. mu is held.
func (f *FS) first(err error) error {
	if f.crashed {
		return ErrCrashed
	}
	return err
}

func (f *FS) newFile(at place) *node {
	f.lastIno++
	n := newFile(f.lastIno, f.clock())
	n.links = 1
	f.nodes[n.ino] = n
	f.do(at.dir, set{at, n.ino})
	return n
}

// ReadFile implements vfs.FS.
func (f *FS) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.findFile(name)
	if err = f.first(err); err != nil {
		return nil, f.pathError("read", name, err)
	}
	data := make([]byte, n.size)
	n.readAt(data, 0)
	return data, nil
}

// Mkdir implements vfs.FS.
func (f *FS) Mkdir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.findFree(name)
	if err == nil {
		err = f.begin(sectorSize, "mkdir %s", name)
	}
	if err != nil {
		return f.pathError("mkdir", name, f.first(err))
	}
	f.lastIno++
	n := newDir(f.lastIno, at.dir, f.clock())
	f.nodes[n.ino] = n
	n.named = f.do(at.dir, set{at, n.ino})
	return nil
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, n, err := f.findPlace(name)
	switch {
	case err != nil:
	case n == nil:
		err = syscall.ENOENT
	case len(n.names) > 0:
		err = syscall.ENOTEMPTY
	default:
		err = f.step("remove %s", name)
	}
	if err != nil {
		return f.pathError("remove", name, f.first(err))
	}
	var inside []*nameOp
	if n.isDir() {
		inside = f.in(n.ino)
	}
	op := f.do(at.dir, set{at, 0})
	op.after = append(op.after, inside...)
	f.unlink(n)
	return nil
}

// unlink takes one name from a node. mu is held.
func (f *FS) unlink(n *node) {
	n.links--
	f.release(n)
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, moved, err := f.findPlace(oldName)
	if err == nil && moved == nil {
		err = syscall.ENOENT
	}
	var to place
	var replaced *node
	if err == nil {
		to, replaced, err = f.findPlace(newName)
	}
	if err == nil && moved != replaced {
		err = f.renamable(moved, replaced, to)
	}
	if err == nil {
		err = f.step("rename %s %s", oldName, newName)
	}
	if err != nil {
		return f.linkError("rename", oldName, newName, f.first(err))
	}
	if moved == replaced {
		return nil // two names of one file: rename(2) leaves both
	}
	if moved.isDir() {
		f.renameDir(from, to, moved)
	} else { // two changes, of which a crash may keep either
		f.do(to.dir, set{to, moved.ino})
		f.do(from.dir, set{from, 0})
	}
	if replaced != nil {
		f.unlink(replaced)
	}
	return nil
}

// renameDir changes both names of a directory at once. mu is held.
func (f *FS) renameDir(from, to place, moved *node) {
	var under []*nameOp
	if from.dir != to.dir {
		under = f.named(to.dir)
	}
	op := f.do(to.dir, set{from, 0}, set{to, moved.ino})
	op.after, op.under = append(op.after, under...), under
	moved.parent, moved.named = to.dir, op
}

// renamable follows os.Rename, which replaces no directories. mu is held.
func (f *FS) renamable(moved, replaced *node, to place) error {
	if replaced != nil && replaced.isDir() {
		return syscall.EEXIST
	}
	if !moved.isDir() {
		return nil
	}
	if replaced != nil {
		return syscall.ENOTDIR
	}
	for n := f.nodes[to.dir]; n.ino != rootIno; n = f.nodes[n.parent] {
		if n == moved {
			return syscall.EINVAL
		}
	}
	return nil
}

// Exchange implements vfs.FS, for names of one directory.
func (f *FS) Exchange(a, b string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	atA, nodeA, err := f.findPlace(a)
	var atB place
	var nodeB *node
	if err == nil {
		atB, nodeB, err = f.findPlace(b)
	}
	switch {
	case err != nil:
	case nodeA == nil || nodeB == nil:
		err = syscall.ENOENT
	case atA.dir != atB.dir:
		err = syscall.EXDEV
	default:
		err = f.step("exchange %s %s", a, b)
	}
	if err != nil {
		return f.linkError("exchange", a, b, f.first(err))
	}
	if nodeA == nodeB {
		return nil // as with Rename
	}
	f.do(atA.dir, set{atA, nodeB.ino}, set{atB, nodeA.ino})
	return nil
}

// Link implements vfs.FS.
func (f *FS) Link(oldName, newName string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(oldName)
	if err == nil && n.isDir() {
		err = syscall.EPERM
	}
	var at place
	if err == nil {
		at, err = f.findFree(newName)
	}
	if err == nil {
		err = f.step("link %s %s", oldName, newName)
	}
	if err != nil {
		return f.linkError("link", oldName, newName, f.first(err))
	}
	n.links++
	f.do(at.dir, set{at, n.ino})
	return nil
}

// Stat implements vfs.FS. A directory has one link.
func (f *FS) Stat(name string) (vfs.Info, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	if err = f.first(err); err != nil {
		return vfs.Info{}, f.pathError("stat", name, err)
	}
	return n.info(name), nil
}

func (n *node) info(name string) vfs.Info {
	return vfs.Info{
		Name: path.Base(name), Size: n.size, Mode: n.mode, ModTime: n.mtime,
		Dev: 1, Ino: n.ino, Links: uint64(n.links), Disk: -1,
	}
}

// List implements vfs.FS. It yields the entries that were there when it began, in an order set by
// the seed.
func (f *FS) List(dir string) iter.Seq2[vfs.Entry, error] {
	return func(yield func(vfs.Entry, error) bool) {
		entries, err := f.entries(dir)
		for _, e := range entries {
			if err = f.stillAlive(dir); err != nil {
				break
			}
			if !yield(e, nil) {
				return
			}
		}
		if err != nil {
			yield(vfs.Entry{}, err)
		}
	}
}

func (f *FS) stillAlive(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pathError("list", name, f.alive())
}

func (f *FS) entries(name string) ([]vfs.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, err := f.findDir(name)
	if err = f.first(err); err != nil {
		return nil, f.pathError("list", name, err)
	}
	var entries []vfs.Entry
	for name, ino := range dir.names {
		entries = append(entries, vfs.Entry{Name: name, Type: f.nodes[ino].mode.Type()})
	}
	slices.SortFunc(entries, func(a, b vfs.Entry) int { return strings.Compare(a.Name, b.Name) })
	r := rand.New(rand.NewPCG(uint64(f.seed), dir.ino))
	r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	return entries, nil
}

// SetModTime implements vfs.FS.
func (f *FS) SetModTime(name string, t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.find(name)
	if err == nil {
		err = f.step("touch %s", name)
	}
	if err != nil {
		return f.pathError("set time of", name, f.first(err))
	}
	if n.isDir() {
		n.mtime = t
	} else {
		n.note(0, nil, t)
	}
	return nil
}

// SetReadOnly implements vfs.FS. Modes survive a crash: nothing may rely on them,
// whichever they are.
func (f *FS) SetReadOnly(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.findFile(name)
	if err == nil {
		err = f.step("chmod %s", name)
	}
	if err != nil {
		return f.pathError("make read-only", name, f.first(err))
	}
	n.mode &^= 0o222
	return nil
}

// Space implements vfs.FS.
func (f *FS) Space() (vfs.Space, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.alive(); err != nil {
		return vfs.Space{}, f.pathError("ask space of", ".", err)
	}
	total := int64(totalSpace)
	if f.limit > 0 {
		total = f.limit
	}
	return vfs.Space{TotalBytes: uint64(total), FreeBytes: uint64(max(total-f.used, 0))}, nil
}

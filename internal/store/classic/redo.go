package classic

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Redo puts a number of files into one side that the log can make again, until
// x.serial says that they are there. So they may get their names before their
// contents are durable. Nothing is durable before Sync returned nil; until then the
// caller keeps the batch to put all of it again, from the beginning: files that a failed
// sync may have lost have to be written anew, and [Store.SetMark] sees to it.
//
// Every method may be repeated after an error or a crash. Create and Adopt may be
// called concurrently, for different names; Replace by one goroutine for each
// lane; Sync and HighestOID when all of them have returned.
type Redo struct {
	t     *Store
	side  store.Side
	later bool // one syncfs at the end instead of an fsync of each file
	lane  int  // see Lane
	// tid is the transaction for which files are put now; 0: not known. A failed sync may lose
	// them: then x.serial is refused from that one on.
	tid zodb.TID
}

// MaxLanes is how many goroutines can put files at a time.
const MaxLanes = 4

// NewRedo starts a batch of about files files.
func (t *Store) NewRedo(side store.Side, files int) *Redo {
	if side == store.B {
		t.UseB()
	}
	return &Redo{t: t, side: side, later: t.o.Sync && t.o.DirSync && files >= t.o.SyncAllFrom}
}

// Lane returns the batch for another goroutine, i of 0..MaxLanes-1, which writes
// aside under a name of its own.
func (b *Redo) Lane(i int) *Redo {
	lane := *b
	lane.lane = i
	return &lane
}

func (b *Redo) aside() string {
	if b.lane == 0 {
		return asideFile
	}
	return fmt.Sprintf("%s-%d", asideFile, b.lane)
}

// options of a file that is written now.
func (b *Redo) options() vfs.PutOptions {
	return vfs.PutOptions{Sync: b.t.o.Sync && !b.later, Stamp: b.t.stamp}
}

// Create puts a file under a name that is new. If an interrupted flush left
// something under that name, it is replaced by rename.
func (b *Redo) Create(n layout.Name, data []byte) error {
	if err := wantNoMark(n); err != nil {
		return err
	}
	name := b.t.Path(b.side, n)
	created, err := vfs.PutStamped(b.t.fs, name, data, b.options())
	if !created && errors.Is(err, fs.ErrNotExist) {
		if err = b.t.mkdirs(path.Dir(name)); err == nil {
			created, err = vfs.PutStamped(b.t.fs, name, data, b.options())
		}
	}
	if !created && errors.Is(err, fs.ErrExist) {
		return b.Replace(n, data)
	}
	if !created {
		return err
	}
	if err != nil {
		b.t.debts.name(dirOf(name))
		// On a full disk the space is worth having back. The batch will be flushed again.
		return errors.Join(err, b.t.fs.Remove(name))
	}
	b.put(n, name)
	return nil
}

// Replace puts a file under a name that may exist: written aside, then renamed.
// The remains of an interrupted batch are replaced when the batch is done again.
func (b *Redo) Replace(n layout.Name, data []byte) error {
	if err := wantNoMark(n); err != nil {
		return err
	}
	name, aside := b.t.Path(b.side, n), b.aside()
	err := vfs.PutAside(b.t.fs, aside, data, b.options())
	if err != nil {
		return err
	}
	if err := b.t.renameAside(aside, name); err != nil {
		return err
	}
	b.put(n, name)
	return nil
}

// HighestOID puts x.oid. Open reads it before it does anything again, so its content
// is durable before it has its name; its name is with the batch, and so before x.serial.
func (b *Redo) HighestOID(data []byte) error { return b.t.putMark(b.side, layout.XOID, data) }

// Adopt moves a file that lies in journal/, whole and durable, under its name
// here. If the file is not there any more, an earlier, interrupted flush moved
// it: then the name must exist with that size, on this side or, if that flush
// went there or a recombination has moved it on, on the other.
func (b *Redo) Adopt(n layout.Name, staged string, size int64) error {
	name := b.t.Path(b.side, n)
	if err := b.t.mkdirs(dirOf(name)); err != nil {
		return err
	}
	// Stamped before the move: in A the file may already be part of a snapshot. The
	// sync at the end makes the time durable, or else it is done now; also where
	// the time that it had lies before the floor, because a power cut could keep the
	// new name with that, and if the next flush goes to B nobody may set it in A.
	info, err := b.t.fs.Stat(staged)
	if err == nil {
		err = b.t.restamp(staged)
	}
	if err == nil && b.t.o.Sync && (!b.later || info.ModTime.UnixNano() < b.t.floor.Load()) {
		err = b.t.syncTimes(staged)
	}
	if err == nil {
		err = b.t.move(b.aside(), staged, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		if name, err = b.t.adopted(n, staged, size, err); err == nil {
			b.t.relyOn(n, name)
			err = b.restampAdopted(name)
		}
	}
	if err != nil {
		return err
	}
	b.put(n, name)
	return nil
}

// restampAdopted restores the time of a file that an earlier attempt moved: a power cut
// may have kept the name and not the time. While files go to B nothing is changed in A: a
// file there is older.
func (b *Redo) restampAdopted(name string) error {
	if b.side == store.B && strings.HasPrefix(name, string(store.A)+"/") {
		return nil
	}
	err := b.t.restamp(name)
	if err == nil && b.t.o.Sync && !b.later {
		err = b.t.syncTimes(name)
	}
	return err
}

// adopted looks for a file that was moved before; cause says that it is not staged.
func (t *Store) adopted(n layout.Name, staged string, size int64, cause error) (where string, err error) {
	info, where, err := t.stat(n)
	if err != nil || info.Size != size {
		return "", fmt.Errorf("the file %s is lost: neither %s nor %s holds it: %w", n, staged, where, errors.Join(cause, err))
	}
	return where, nil
}

// Sync makes all that was put so far durable, contents and names, and pays all
// that the tree owes.
func (b *Redo) Sync() error { return b.t.Sync() }

// put notes a file whose name has to become durable, and its content, too, if that
// was left for later.
func (b *Redo) put(n layout.Name, name string) { b.t.debts.put(n, dirOf(name), b.tid, b.later) }

// dirOf is path.Dir for names that have a directory.
func dirOf(name string) string { return name[:strings.LastIndexByte(name, '/')] }

// isMark reports whether a file is one of those that are read at open, before anything is
// done again.
func isMark(n layout.Name) bool {
	return n == layout.XOID || n == layout.XSerial || n == layout.XPacked
}

func wantNoMark(n layout.Name) error {
	if isMark(n) {
		return fmt.Errorf("%s is a mark, which is put alone", n)
	}
	return nil
}

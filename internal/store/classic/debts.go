package classic

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// debts are the files that were put, renamed, made or removed, and are not durable. They
// belong to the tree and not to a batch: the changes of a failed attempt are there when
// it is repeated, so nobody would sync them any more. Only a sync that succeeded pays.
type debts struct {
	mu    sync.Mutex
	names map[string]struct{} // directories in which names changed
	last  string              // the directory that was added last
	// files are those whose contents have to be synced, each with the transaction that it was
	// put for; 0: for none.
	files map[layout.Name]zodb.TID
	done  int      // changes since the last sync
	old   []string // names of files that were moved, see move
	// lost files had contents that a failed sync may have dropped; the next one would
	// succeed and prove nothing. They have to be written anew.
	lost map[layout.Name]zodb.TID
	// failure is of a sync of names: these cannot be made anew.
	failure error
	// doubts is not nil where all that was found could not be synced when the
	// HOME was opened. It holds the directories that were synced since.
	doubts map[string]struct{}
}

// keptDebts is up to how many entries the maps are used again.
const keptDebts = 1 << 14

// maxDoubts bounds the memory of debts.doubts.
const maxDoubts = 1 << 16

func newDebts() *debts {
	return &debts{names: make(map[string]struct{}), files: make(map[layout.Name]zodb.TID), lost: make(map[layout.Name]zodb.TID)}
}

// name notes a directory in which a name changed.
func (d *debts) name(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done++
	d.owe(dir)
}

// put notes a file that was written anew for a transaction, in a directory; later: its content
// is not durable.
func (d *debts) put(n layout.Name, dir string, tid zodb.TID, later bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done++
	d.owe(dir)
	if len(d.lost) > 0 {
		delete(d.lost, n)
	}
	if later {
		d.files[n] = tid
	}
}

// owe notes a directory and, in doubt, those above it. mu must be held.
func (d *debts) owe(dir string) {
	if dir == d.last {
		return
	}
	d.names[dir], d.last = struct{}{}, dir
	if d.doubts == nil {
		return
	}
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := d.doubts[dir]; ok {
			return
		}
		if len(d.doubts) >= maxDoubts {
			clear(d.doubts)
		}
		d.doubts[dir] = struct{}{}
		d.names[path.Dir(dir)] = struct{}{}
	}
}

// paid forgets everything but the losses. mu must be held.
func (d *debts) paid() {
	if len(d.files)+len(d.names) > keptDebts { // maps keep the memory of their former entries
		d.names, d.files = make(map[string]struct{}), make(map[layout.Name]zodb.TID)
	}
	clear(d.names)
	clear(d.files)
	d.last, d.done = "", 0
}

// lostFiles returns how many files a failed sync may have lost, without those that were put for
// later transactions than one.
func (d *debts) lostFiles(upTo zodb.TID) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, tid := range d.lost {
		if tid <= upTo {
			n++
		}
	}
	return n
}

// SyncFound makes everything durable that a process before this one may have left in
// memory: it may have been killed, and the files found now are believed. It is called
// when the lock is held, and before anything that was read is acted on. Its time depends
// on the amount of unwritten data in the whole file system, not on the size of the
// database. Where everything cannot be synced at once, the marks are, and each other file
// and directory when it is first relied on.
func (t *Store) SyncFound() error {
	if !t.o.Sync || !t.o.DirSync {
		return nil // without syncs of names one relies on the file system
	}
	err := t.fs.SyncAll()
	if !errors.Is(err, vfs.ErrNotSupported) {
		return err
	}
	t.debts.doubts = make(map[string]struct{})
	for _, side := range []store.Side{store.A, store.B} {
		for _, n := range []layout.Name{layout.XOID, layout.XSerial, layout.XPacked} {
			name := t.Path(side, n)
			if err := t.syncTimes(name); err == nil {
				t.debts.name(dirOf(name))
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	for _, dir := range []string{"misc", "journal", "A", "B"} {
		t.debts.name(dir)
	}
	return t.Sync()
}

// relyOn notes a file that an attempt before put there, perhaps by a process that was
// killed. Its content is durable before its name, or was synced at open.
func (t *Store) relyOn(n layout.Name, name string) {
	t.debts.mu.Lock()
	defer t.debts.mu.Unlock()
	if t.debts.doubts == nil {
		return
	}
	t.debts.owe(dirOf(name))
	t.debts.files[n] = 0
}

// relyOnRemoval is relyOn for a name that is not there.
func (t *Store) relyOnRemoval(name string) {
	t.debts.mu.Lock()
	defer t.debts.mu.Unlock()
	if t.debts.doubts != nil {
		t.debts.owe(dirOf(name))
	}
}

// relyOnRemovals is for names of some kinds that are not in A, and for files that are not put aside any
// more: it is relyOnRemoval for each directory that has others of these. A directory with neither was
// removed, and that is a change of the one above it. It yields nil now and then on its way, and an error last.
func (t *Store) relyOnRemovals(kinds ...layout.Kind) iter.Seq[error] {
	return func(yield func(error) bool) {
		if !t.doubtful() {
			return
		}
		looks := 0
		for p, err := range vfs.Walk(t.fs, string(store.A)) {
			if err != nil {
				yield(err)
				return
			}
			if looks++; looks%looksAtOnce == 0 && !yield(nil) {
				return
			}
			below := p[len(store.A)+1:]
			n, ok := t.o.Format.Parse(below)
			if !ok {
				n, _, ok = t.o.Format.ParseDeleted(below)
			}
			if ok && slices.Contains(kinds, n.Kind) {
				t.relyOnRemoval(p)
			}
		}
	}
}

// doubtful reports whether a process before this one may have left something that is not durable.
func (t *Store) doubtful() bool {
	t.debts.mu.Lock()
	defer t.debts.mu.Unlock()
	return t.debts.doubts != nil
}

// Failure returns the error of a sync that cannot be repeated: names were lost, or may
// have been. Nothing becomes durable any more then; the next open examines the files.
func (t *Store) Failure() error {
	t.debts.mu.Lock()
	defer t.debts.mu.Unlock()
	return t.debts.failure
}

// Sync pays all that the tree owes, for instance before somebody is told that A is a snapshot, and
// takes away the old names of moved files. That is a debt again, which only matters where B
// has to be empty. It is called by the goroutine that puts files, and nobody may put any meanwhile.
func (t *Store) Sync() error {
	if err := t.pay(); err != nil {
		t.debts.forgetMoves()
		return err
	}
	return t.removeOld()
}

// pay makes all debts durable.
func (t *Store) pay() error {
	d := t.debts
	d.mu.Lock()
	all := t.o.DirSync && (len(d.files) > 0 || d.done >= t.o.SyncAllFrom)
	owed := len(d.files) + len(d.names)
	failure := d.failure
	d.mu.Unlock()
	if failure != nil {
		return fmt.Errorf("an earlier sync failed: %w", failure)
	}
	if owed == 0 {
		return nil
	}
	if !t.o.Sync {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.paid()
		return nil
	}
	if all {
		if err := t.syncAll(); !errors.Is(err, vfs.ErrNotSupported) {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for n, tid := range d.files {
		if err := t.syncFile(n); err != nil {
			if !vfs.NotBegun(err) {
				d.lost[n] = tid
				delete(d.files, n)
			}
			return err
		}
		delete(d.files, n)
	}
	return t.syncNames()
}

// syncAll pays all debts by one syncfs. If that fails, nobody knows which files it is
// about: all that were not durable may be lost.
func (t *Store) syncAll() error {
	d := t.debts
	err := t.fs.SyncAll()
	if errors.Is(err, vfs.ErrNotSupported) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.paid()
		return nil
	}
	if vfs.NotBegun(err) {
		return err
	}
	maps.Copy(d.lost, d.files)
	clear(d.files)
	return d.namesFailed(err)
}

// syncNames makes the names in directories durable; a directory that is gone
// is passed over, because its removal is a name in the one above it. mu must be held.
func (t *Store) syncNames() error {
	d := t.debts
	if t.o.DirSync {
		for dir := range d.names {
			if err := t.fs.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return d.namesFailed(err)
			}
			delete(d.names, dir)
			d.last = ""
		}
	}
	d.paid()
	return nil
}

// namesFailed keeps an error that does not pass. A sync that had no room is tried again:
// a file system takes the room for names when they are made, and goes on holding them. mu
// must be held.
func (d *debts) namesFailed(err error) error {
	if !vfs.Passes(err) {
		d.failure = err
	}
	return err
}

// syncFile makes the content of a file durable, wherever it is by now.
func (t *Store) syncFile(n layout.Name) error {
	f, _, err := t.open(n)
	if err != nil {
		return err
	}
	return errors.Join(f.SyncTimes(), f.Close())
}

// syncTimes makes the content of a file and its time durable.
func (t *Store) syncTimes(name string) error { return syncTimes(t.fs, name) }

func syncTimes(f vfs.FS, name string) error {
	file, err := f.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.SyncTimes(), file.Close())
}

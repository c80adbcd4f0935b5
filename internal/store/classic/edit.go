package classic

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Edit puts files that nothing can make again: transactions that are linked anew, files
// that packs put aside and that are brought back, the journal of the original. Nobody
// sees anything of it before Sync, which makes the contents and times durable, then gives
// the files their names, then makes these durable. So after a crash or an error each name
// has its old or its new content, whole. It may be repeated after either. It is used by
// one goroutine, which is the one that puts files.
type Edit struct {
	t     *Store
	side  store.Side
	moves []move
	names map[layout.Name]struct{} // of the moves
	made  int                      // files aside, for their names
}

// move is a file that gets its name with Sync.
type move struct {
	n     layout.Name
	from  string
	to    string
	aside bool // it was written for that, and means nothing without
}

// NewEdit begins to put files into one side.
func (t *Store) NewEdit(side store.Side) *Edit {
	return &Edit{t: t, side: side, names: make(map[layout.Name]struct{})}
}

// Replace puts a file under a name that may exist.
func (e *Edit) Replace(n layout.Name, data []byte) error {
	if err := wantNoMark(n); err != nil {
		return err
	}
	e.made++
	aside := fmt.Sprintf("%s-edit-%d", asideFile, e.made)
	if err := vfs.PutAside(e.t.fs, aside, data, vfs.PutOptions{Stamp: e.t.stamp}); err != nil {
		return errors.Join(err, e.drop())
	}
	e.add(move{n, aside, e.t.Path(e.side, n), true})
	return nil
}

// Right says that a file is relied on that is as it should be. An attempt that was
// killed may have put it there and not synced it.
func (e *Edit) Right(n layout.Name) { e.t.relyOn(n, e.t.Path(e.side, n)) }

// BringBack gives a file of A that was put aside its name again, with a time
// stamp that no earlier snapshot can have seen. It reports false, and changes
// nothing, if there is a file of that name.
func (e *Edit) BringBack(n layout.Name, from string) (bool, error) {
	if _, ok := e.names[n]; ok {
		return false, nil
	}
	name := e.t.Path(store.A, n)
	if _, err := e.t.fs.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			e.Right(n)
		}
		return false, err
	}
	if err := e.t.restamp(from); err != nil {
		return false, err
	}
	e.add(move{n, from, name, false})
	return true, nil
}

// Adopt moves a file that lies in journal/ under its name here, x files included. If it
// is not there any more, an interrupted attempt moved it: then the name must
// exist with that size, on this side or the other.
func (e *Edit) Adopt(n layout.Name, staged string, size int64) error {
	err := e.t.restamp(staged)
	if errors.Is(err, fs.ErrNotExist) {
		where, err := e.t.adopted(n, staged, size, err)
		if err == nil {
			e.t.relyOn(n, where)
		}
		return err
	}
	if err != nil {
		return err
	}
	e.add(move{n, staged, e.t.Path(e.side, n), false})
	return nil
}

func (e *Edit) add(m move) {
	e.moves = append(e.moves, m)
	e.names[m.n] = struct{}{}
}

// Sync does all that was asked for since the last one, durably, and pays all that
// the tree owes. With an error some of it may be done; the rest is forgotten.
func (e *Edit) Sync() error {
	err := e.syncContents()
	if err == nil && len(e.moves) > 0 {
		err = e.t.noteTimes()
	}
	if err == nil {
		err = e.rename()
	}
	if derr := e.drop(); err != nil {
		e.t.debts.forgetMoves()
		return errors.Join(err, derr)
	}
	return e.t.Sync()
}

// syncContents makes contents and times durable. If that fails nothing was renamed, and
// the contents are written anew the next time.
func (e *Edit) syncContents() error {
	if !e.t.o.Sync || len(e.moves) == 0 {
		return nil
	}
	if e.t.o.DirSync && len(e.moves) >= e.t.o.SyncAllFrom {
		if err := e.t.syncAll(); !errors.Is(err, vfs.ErrNotSupported) {
			return err
		}
	}
	for _, m := range e.moves {
		if err := e.t.syncTimes(m.from); err != nil {
			return err
		}
	}
	return nil
}

// rename gives the files their names. Those that have it are no longer moves.
func (e *Edit) rename() error {
	for len(e.moves) > 0 {
		m := e.moves[0]
		var err error
		if m.aside {
			err = e.t.rename(m.from, m.to)
		} else {
			err = e.t.move(asideFile, m.from, m.to)
		}
		if err != nil {
			return err
		}
		e.t.debts.put(m.n, dirOf(m.to), 0, false)
		e.t.debts.name(dirOf(m.from))
		e.moves = e.moves[1:]
	}
	return nil
}

// drop forgets the moves that were not done.
func (e *Edit) drop() error {
	var errs []error
	for _, m := range e.moves {
		if m.aside {
			errs = append(errs, e.t.fs.Remove(m.from))
		}
	}
	e.moves, e.made = nil, 0
	clear(e.names)
	return errors.Join(errs...)
}

// ParsePath implements [store.Original].
func (t *Store) ParsePath(path string) (layout.Name, bool) {
	below, ok := strings.CutPrefix(path, string(store.A)+"/")
	if !ok {
		return layout.Name{}, false
	}
	return t.o.Format.Parse(below)
}

// Edit implements [store.Original].
func (t *Store) Edit(side store.Side) store.Editor { return t.NewEdit(side) }

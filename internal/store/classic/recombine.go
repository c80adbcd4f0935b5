package classic

import (
	"fmt"
	"path"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Thaw moves at most limit files from B to A and makes the moves durable.
// It reports whether B is empty then, in which case readers no longer look at
// it. It may be repeated after an error or a crash. Nothing may be flushed
// meanwhile, and a flush must not go to A before B was found empty: an older
// file in B would replace a newer one in A.
//
// Names in B that are no database names are left where they are.
func (t *Store) Thaw(limit int) (moved int, empty bool, err error) {
	m := mover{t: t, limit: limit}
	whole, err := m.move("")
	if err == nil {
		err = t.Sync()
	}
	if err == nil {
		err = m.removeDirs()
	}
	if err == nil { // that B is empty is durable before anything newer is put into A
		err = t.Sync()
	}
	if err != nil {
		t.debts.forgetMoves()
		return m.moved, false, fmt.Errorf("move B into A: %w", err)
	}
	if whole {
		t.readB.Store(false)
	}
	return m.moved, whole, nil
}

// mover is one slice of a recombination.
type mover struct {
	t     *Store
	limit int
	moved int
	dirs  []string // of B, that have nothing left when the moves are done; those below first
}

// move works off one directory, dir relative to B, and reports whether nothing
// that has to be moved is left in it.
func (m *mover) move(dir string) (whole bool, err error) {
	entries, whole, err := m.list(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if m.moved >= m.limit {
			return false, nil
		}
		name := path.Join(dir, e.Name)
		if e.IsDir() {
			sub, err := m.move(name)
			if err != nil {
				return false, err
			}
			whole = whole && sub
			continue
		}
		if _, ok := m.t.o.Format.Parse(name); !ok {
			continue
		}
		if err := m.file(name); err != nil {
			return false, err
		}
	}
	if whole && dir != "" {
		m.dirs = append(m.dirs, "B/"+dir)
	}
	return whole, nil
}

func (m *mover) removeDirs() error {
	for _, dir := range m.dirs {
		err := m.t.fs.Remove(dir)
		m.t.debts.name(path.Dir(dir))
		if err != nil && !notEmpty(err) {
			return err
		}
	}
	return nil
}

// list returns as many entries as this slice could possibly move, so that a
// flat B costs no more memory than a deep one.
func (m *mover) list(dir string) (entries []vfs.Entry, whole bool, err error) {
	for e, err := range m.t.fs.List(path.Join("B", dir)) {
		if err != nil {
			return nil, false, err
		}
		if len(entries) > m.limit {
			return entries, false, nil
		}
		entries = append(entries, e)
	}
	return entries, true, nil
}

func (m *mover) file(name string) error {
	if err := m.t.move(asideFile, "B/"+name, "A/"+name); err != nil {
		return err
	}
	m.moved++
	return nil
}

// LastInA implements [store.Freezer].
func (t *Store) LastInA() (zodb.TID, error) {
	name := t.Path(store.A, layout.XSerial)
	b, err := t.fs.ReadFile(name)
	if err != nil {
		return 0, err
	}
	v, err := record.ParseX(b, t.fs.Path(name))
	return zodb.TID(v), err
}

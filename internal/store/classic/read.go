package classic

import (
	"errors"
	"io/fs"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// newest calls a function with the path in B of a database name and, if nothing is there, with
// that in A: the order in which files move, so none slips through. where is the path of the
// last call, relative to HOME.
func newest[T any](t *Store, n layout.Name, at func(name string) (T, error)) (v T, where string, err error) {
	if t.readB.Load() {
		where = t.Path(store.B, n)
		if v, err = at(where); !errors.Is(err, fs.ErrNotExist) {
			return v, where, err
		}
	}
	where = t.Path(store.A, n)
	v, err = at(where)
	return v, where, err
}

// Get implements [store.Reader]: the content of a file. The place is its path relative to
// HOME; if neither side has it, the one in A.
func (t *Store) Get(n layout.Name) (data []byte, where string, err error) {
	return newest(t, n, t.fs.ReadFile)
}

// open opens a file. See Get.
func (t *Store) open(n layout.Name) (f vfs.File, where string, err error) {
	return newest(t, n, t.fs.Open)
}

// stat describes a file. See Get.
func (t *Store) stat(n layout.Name) (info vfs.Info, where string, err error) {
	return newest(t, n, t.fs.Stat)
}

// Stat implements [store.Reader].
func (t *Store) Stat(n layout.Name) (int64, error) {
	info, _, err := t.stat(n)
	return info.Size, err
}

// OpenBlob implements [store.Reader].
func (t *Store) OpenBlob(oid zodb.OID, tid zodb.TID) (f vfs.File, where string, err error) {
	return t.open(layout.Blob(oid, tid))
}

// Place implements [store.Reader]: the path in A.
func (t *Store) Place(n layout.Name) string { return t.Path(store.A, n) }

// Mark implements [store.Reader].
func (t *Store) Mark(n layout.Name) (uint64, error) {
	b, where, err := t.Get(n)
	if errors.Is(err, fs.ErrNotExist) && n == layout.XPacked {
		return 0, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, &zodb.CorruptError{Path: where, Reason: "the file is missing"}
	}
	if err != nil {
		return 0, err
	}
	return record.ParseX(b, where)
}

// Current implements [store.Reader]: it returns the serial in the pointer.
func (t *Store) Current(oid zodb.OID) (zodb.TID, error) {
	if t.o.Minimal {
		r, err := t.object(oid)
		if err != nil {
			return 0, err
		}
		o, err := record.ParseObjectAs(r.Data, r.Place, oid, 0, t.o.CheckSums)
		if err != nil {
			return 0, err
		}
		return o.Serial, nil
	}
	return t.pointer(oid)
}

// Load implements [store.Reader].
func (t *Store) Load(oid zodb.OID) (store.Record, error) {
	if t.o.Minimal {
		return t.object(oid)
	}
	for before := zodb.TID(0); ; {
		serial, err := t.pointer(oid)
		if err != nil {
			return store.Record{}, err
		}
		n := layout.Revision(oid, serial)
		if serial == before { // a pack removes the pointer first, and a change puts another there
			return store.Record{}, &zodb.CorruptError{Path: t.Place(n), OID: oid, TID: serial, NoObject: true,
				Reason: "the pointer of the object names this file, and it is missing"}
		}
		b, where, err := t.Get(n)
		if !errors.Is(err, fs.ErrNotExist) {
			return store.Record{Data: b, Place: where, Serial: serial}, err
		}
		before = serial
	}
}

// HasData implements [store.Reader]: the size of the file tells.
func (t *Store) HasData(oid zodb.OID) (bool, error) {
	name, least := layout.Object(oid), int64(0)
	if !t.o.Minimal {
		serial, err := t.pointer(oid)
		if err != nil {
			return false, err
		}
		name, least = layout.Revision(oid, serial), record.ObjectHeaderSize
	}
	size, err := t.Stat(name)
	return err == nil && size > least, err
}

// object reads the one file of an object of class Minimal.
func (t *Store) object(oid zodb.OID) (store.Record, error) {
	b, where, err := t.Get(layout.Object(oid))
	if errors.Is(err, fs.ErrNotExist) {
		return store.Record{}, &zodb.KeyError{OID: oid}
	}
	return store.Record{Data: b, Place: where}, err
}

// A pointer that is shorter than it should be is read so often, after such pauses.
const (
	maxPointerAttempts = 20
	pointerPause       = time.Millisecond
)

// pointer returns the serial that the pointer of an object names.
func (t *Store) pointer(oid zodb.OID) (zodb.TID, error) {
	for attempt := 0; ; attempt++ {
		b, where, err := t.Get(layout.Pointer(oid))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, &zodb.KeyError{OID: oid}
		}
		if err != nil {
			return 0, err
		}
		serial, err := record.ParsePointer(b, where, oid)
		// The process that writes here may be about to make it. A file that our own process
		// writes is not looked for before it is whole.
		if err == nil || !t.o.Beside || len(b) >= record.PointerSize || attempt == maxPointerAttempts {
			return serial, err
		}
		time.Sleep(pointerPause)
	}
}

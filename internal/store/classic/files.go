package classic

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// BlobFiles implements [store.Filer].
func (t *Store) BlobFiles(oid zodb.OID, tid zodb.TID) []string {
	n := layout.Blob(oid, tid)
	return []string{t.Path(store.B, n), t.Path(store.A, n)}
}

// Files implements [store.Filer].
func (t *Store) Files(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name, err := range vfs.Walk(t.fs, string(store.A)) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil && strings.HasSuffix(name, deletedSuffix) {
				continue
			}
			if !yield(name, err) || err != nil {
				return
			}
		}
	}
}

// deletedSuffix ends the names of files that packs put aside.
const deletedSuffix = "-deleted"

// since is one FilesSince: it looks at A alone.
type since struct {
	t              *Store
	ctx            context.Context
	last           zodb.TID // of the copy before
	serial, packed zodb.TID // the marks
	lost           func(text string)
	yield          func(string, error) bool
}

// errUnlinked: a pack removed transactions since the copy before, so that the remaining ones
// do not name all changes.
var errUnlinked = errors.New("pack removed transactions since the reference")

// errStopped: nobody wants more.
var errStopped = errors.New("stopped")

// FilesSince implements [store.Filer]. The transactions name the written files, from the newest
// on. In class Minimal, which has none, and where a pack that keeps undoable transactions only
// took a link, all names of A are looked at.
func (t *Store) FilesSince(ctx context.Context, last zodb.TID, _ func(path string) bool, lost func(text string)) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if lost == nil {
			lost = func(string) {}
		}
		s := &since{t: t, ctx: ctx, last: last, lost: lost, yield: yield}
		if err := s.run(); err != nil && !errors.Is(err, errStopped) {
			yield("", err)
		}
	}
}

// path returns where a file is in A.
func (s *since) path(n layout.Name) string { return s.t.Path(store.A, n) }

func (s *since) give(name string) error {
	if !s.yield(name, nil) {
		return errStopped
	}
	return nil
}

func (s *since) mark(n layout.Name) (zodb.TID, error) {
	b, err := s.t.fs.ReadFile(s.path(n))
	if errors.Is(err, fs.ErrNotExist) && n == layout.XPacked {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	v, err := record.ParseX(b, s.t.fs.Path(s.path(n)))
	return zodb.TID(v), err
}

func (s *since) run() (err error) {
	if s.serial, err = s.mark(layout.XSerial); err != nil {
		return err
	}
	if s.packed, err = s.mark(layout.XPacked); err != nil {
		return err
	}
	if !s.t.o.Minimal {
		// Files that were handed over cannot be taken back, so the whole way is tried first.
		// It reads the transactions alone.
		err = s.back(nil)
	}
	switch {
	case s.t.o.Minimal || errors.Is(err, errUnlinked):
		err = s.byName()
	case err == nil:
		err = s.back(s.transaction)
	}
	if err != nil {
		return err
	}
	marks := []layout.Name{layout.XOID, layout.XSerial}
	if s.packed > s.last {
		// Only then may a transaction that is new here have lost something.
		marks = append(marks, layout.XPacked)
	}
	for _, n := range marks {
		if err := s.give(s.path(n)); err != nil {
			return err
		}
	}
	return nil
}

// back follows the transactions to the last one of the copy before. The error matches
// errUnlinked if a pack took a link.
func (s *since) back(each func(*record.Transaction) error) error {
	for tid := s.serial; tid > s.last; {
		r, err := s.read(tid)
		if errors.Is(err, fs.ErrNotExist) && tid <= s.packed && tid != s.serial {
			err = errUnlinked
		}
		if err == nil {
			err = s.ctx.Err()
		}
		if err == nil && each != nil {
			err = each(r)
		}
		if err != nil {
			return err
		}
		tid = r.Previous
		if tid < s.last && s.packed < s.last {
			return fmt.Errorf("transaction %s names %s as the one before: %s, with which the reference ends, is not part of this history", r.TID, tid, s.last)
		}
	}
	return nil
}

func (s *since) read(tid zodb.TID) (*record.Transaction, error) {
	name := s.path(layout.Transaction(tid))
	b, err := s.t.fs.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r, err := record.ParseTransactionAs(b, s.t.fs.Path(name), tid, true)
	if err == nil && r.Previous >= tid {
		err = &zodb.CorruptError{Path: s.t.fs.Path(name), TID: tid, Reason: "history does not go backwards"}
	}
	return r, err
}

func (s *since) transaction(r *record.Transaction) error {
	if err := s.give(s.path(layout.Transaction(r.TID))); err != nil {
		return err
	}
	for _, oid := range r.OIDs {
		if err := s.revision(oid, r.TID); err != nil {
			return err
		}
	}
	return nil
}

// revision yields the files that a transaction wrote for one object. Its pointer comes with
// the newest revision.
func (s *since) revision(oid zodb.OID, tid zodb.TID) error {
	f := s.t.fs
	revision, blob, pointer := s.path(layout.Revision(oid, tid)), s.path(layout.Blob(oid, tid)), s.path(layout.Pointer(oid))
	_, err := f.Stat(revision)
	if errors.Is(err, fs.ErrNotExist) {
		if tid > s.packed {
			s.lost(fmt.Sprintf("%s is missing: transaction %s lists it", f.Path(revision), tid))
		}
		return nil
	}
	if err == nil {
		err = s.give(revision)
	}
	if err != nil {
		return err
	}
	if _, err = f.Stat(blob); err == nil {
		err = s.give(blob)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := f.ReadFile(pointer)
	if errors.Is(err, fs.ErrNotExist) {
		s.lost(fmt.Sprintf("%s is missing: the object has revision %s", f.Path(pointer), tid))
		return nil
	}
	if err != nil {
		return err
	}
	current, err := record.ParsePointer(b, f.Path(pointer), oid)
	if err != nil || current == tid { // its fault is told when it is read again
		return s.give(pointer)
	}
	return nil
}

// byName yields the same from a walk over all names of A.
func (s *since) byName() error {
	for name, err := range s.t.Files(s.ctx) {
		if err != nil {
			return err
		}
		n, ok := s.t.o.Format.Parse(name[len(store.A)+1:])
		if !ok {
			continue
		}
		later, err := s.later(n, name)
		if err == nil && later {
			err = s.give(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// later reports whether a file is of a transaction that the copy before does not have.
func (s *since) later(n layout.Name, name string) (bool, error) {
	f := s.t.fs
	switch n.Kind {
	case layout.KindRevision, layout.KindTransaction, layout.KindBlob:
		return n.TID > s.last, nil
	case layout.KindPointer:
		b, err := f.ReadFile(name)
		if err != nil {
			return false, err
		}
		tid, err := record.ParsePointer(b, f.Path(name), n.OID)
		return err != nil || tid > s.last, nil // its fault is reported when it is read again
	case layout.KindObject:
		head, size, err := readHead(f, name)
		if err != nil {
			return false, err
		}
		o, _, err := record.ParseObjectHeader(head, size, f.Path(name))
		return err == nil && o.Serial > s.last, err
	}
	return false, nil
}

func readHead(f vfs.FS, name string) (b []byte, size int64, err error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	b = make([]byte, min(info.Size, record.ObjectHeaderSize))
	_, err = file.ReadAt(b, 0)
	return b, info.Size, err
}

// Removed implements [store.Filer].
func (t *Store) Removed() (r store.Removed, inside bool) { return r, false }

// Weigh implements [store.Filer].
func (t *Store) Weigh(context.Context) (r store.Removed, err error) { return r, nil }

// Space implements [store.Filer].
func (t *Store) Space(ctx context.Context) (store.Space, error) {
	space := store.Space{Sides: make(map[store.Side]store.Occupied), Removed: store.Removed{Aside: make(map[int64]store.Occupied)}}
	for _, side := range store.Sides() {
		var sum store.Occupied
		is := false
		err := vfs.Measure(t.fs, string(side), true, func(name string, bytes int64, dir bool) error {
			sum.Files++
			sum.Bytes += bytes
			is = is || dir
			if !dir && side == store.A {
				if _, stamp, ok := t.o.Format.ParseDeleted(name[len(side)+1:]); ok {
					info, err := t.fs.Stat(name)
					if errors.Is(err, fs.ErrNotExist) {
						return ctx.Err() // it was purged meanwhile
					}
					if err != nil {
						return err
					}
					a := space.Removed.Aside[stamp]
					space.Removed.Aside[stamp] = store.Occupied{Files: a.Files + 1, Bytes: a.Bytes + info.Frees()}
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return store.Space{}, err
		}
		if is {
			space.Sides[side] = sum
		}
	}
	return space, nil
}

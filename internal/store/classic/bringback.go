package classic

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// restorer brings back the revisions first, then the pointers that name them, the newest of
// several.
type restorer struct {
	t      *Store
	stamp  int64
	stamps map[int64]struct{} // of pointers
	left   []int64            // whose pointers come back, the newest last; nil: the revisions do not all
	next   func() (aside, error, bool)
	stop   func()
	relied bool // what an attempt before has brought back is relied on
}

// BringBack implements [store.Packer]. With a stamp, the revisions of an object that has no pointer afterwards stay
// aside: another pack has put that aside, see [restorer.currentOf], and the next one would take it for lost.
func (t *Store) BringBack(stamp int64) store.Restorer {
	return t.BringBackIf(stamp, func(n layout.Name) bool {
		if stamp == 0 || n.Kind != layout.KindRevision && n.Kind != layout.KindBlob {
			return true
		}
		for _, pointer := range []string{t.Path(store.A, layout.Pointer(n.OID)), t.Deleted(layout.Pointer(n.OID), stamp)} {
			if _, err := t.fs.Stat(pointer); !errors.Is(err, fs.ErrNotExist) {
				return true // with an error, too: it comes again
			}
		}
		return false
	})
}

// BringBackIf is BringBack of those files that are wanted, of which the pointers are not asked about.
func (t *Store) BringBackIf(stamp int64, wanted func(n layout.Name) bool) store.Restorer {
	r := &restorer{t: t, stamp: stamp, stamps: make(map[int64]struct{})}
	r.walk(func(a aside) bool {
		if a.name.Kind == layout.KindPointer {
			r.stamps[a.stamp] = struct{}{}
			return false
		}
		return wanted(a.name)
	})
	return r
}

// walk goes through the wanted ones among the files put aside.
func (r *restorer) walk(want func(aside) bool) {
	if r.stop != nil {
		r.stop()
	}
	r.next, r.stop = iter.Pull2(func(yield func(aside, error) bool) {
		for a, err := range r.t.asides() {
			if err == nil && (r.stamp != 0 && r.stamp != a.stamp || !want(a)) {
				continue
			}
			if !yield(a, err) {
				return
			}
		}
	})
}

// Close implements [store.Restorer].
func (r *restorer) Close() { r.stop() }

// Step implements [store.Restorer].
func (r *restorer) Step(limit int, begins func() error) (n store.Restored, err error) {
	if !r.relied {
		if err := r.t.relyOnRemovals(context.Background(), layout.KindPointer, layout.KindRevision, layout.KindBlob, layout.KindTransaction); err != nil {
			return n, err
		}
		r.relied = true
	}
	e := r.t.NewEdit(store.A)
	var walked error
	ended := false
	var own store.Restored // beside e
	for range limit {
		a, err, ok := r.next()
		if !ok || err != nil {
			ended, walked = true, err
			break
		}
		err = begins()
		if err == nil && a.name.Kind == layout.KindPointer && r.stamp != 0 {
			err = r.currentOf(a, &own)
		}
		if err == nil {
			err = r.file(e, a, &n)
		}
		if err != nil {
			return own, err // none of e has its name yet
		}
		n.Seen++
	}
	n.Revisions, n.Bytes = n.Revisions+own.Revisions, n.Bytes+own.Bytes
	n.Blobs, n.BlobBytes = n.Blobs+own.Blobs, n.BlobBytes+own.BlobBytes
	if err := errors.Join(e.Sync(), walked); err != nil {
		return n, err
	}
	if ended {
		n.Done = r.pass()
	}
	n.Pointing = r.left != nil
	return n, nil
}

// pass goes on with the pointers of the next stamp. done: there is none.
func (r *restorer) pass() (done bool) {
	if r.left == nil {
		r.left = append([]int64{}, slices.Sorted(maps.Keys(r.stamps))...)
	}
	if len(r.left) == 0 {
		return true
	}
	stamp := r.left[len(r.left)-1]
	r.left = r.left[:len(r.left)-1]
	r.walk(func(a aside) bool { return a.name.Kind == layout.KindPointer && a.stamp == stamp })
	return false
}

// currentOf brings back the revision that a pointer names, and its blob, durably, if another pack has put them
// aside: where an undelete was interrupted before the pointer, the next pack took them for remains.
func (r *restorer) currentOf(pointer aside, n *store.Restored) error {
	b, err := r.t.fs.ReadFile(pointer.path)
	if err != nil {
		return err
	}
	tid, err := record.ParsePointer(b, r.t.fs.Path(pointer.path), pointer.name.OID)
	if err != nil {
		return nil // a read of it reports the error
	}
	revision := layout.Revision(pointer.name.OID, tid)
	if _, err := r.t.fs.Stat(r.t.Path(store.A, revision)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range []layout.Name{layout.Blob(pointer.name.OID, tid), revision} { // each durably before what needs it
		a, found, err := r.t.newestAside(name)
		if err == nil && found {
			e := r.t.NewEdit(store.A)
			err = errors.Join(r.file(e, a, n), e.Sync())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newestAside returns the file of a name that a pack put aside, the last one of several.
func (t *Store) newestAside(n layout.Name) (newest aside, found bool, err error) {
	dir := dirOf(t.Path(store.A, n))
	for e, err := range t.fs.List(dir) {
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return newest, false, err
		}
		name := dir + "/" + e.Name
		is, stamp, ok := t.o.Format.ParseDeleted(name[2:])
		if ok && is == n && (!found || stamp > newest.stamp) {
			newest, found = aside{name, n, stamp}, true
		}
	}
	return newest, found, nil
}

func (r *restorer) file(e *Edit, a aside, n *store.Restored) error {
	info, err := r.t.fs.Stat(a.path)
	if err != nil {
		return err
	}
	back, err := e.BringBack(a.name, a.path)
	if err != nil {
		return err
	}
	if !back {
		n.Skipped++
		return nil
	}
	switch a.name.Kind {
	case layout.KindPointer:
		n.Objects++
		return nil
	case layout.KindRevision:
		n.Revisions++
	case layout.KindTransaction:
		n.Transactions++
	case layout.KindBlob:
		n.Blobs++
		n.BlobBytes += info.Size
	}
	n.Bytes += info.Size
	return nil
}

// BroughtBack implements [store.Packer].
func (t *Store) BroughtBack(ctx context.Context) iter.Seq2[zodb.TID, error] {
	return func(yield func(zodb.TID, error) bool) {
		for name, err := range vfs.Walk(t.fs, string(store.A)) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(0, err)
				return
			}
			t.relyOnRemoval(name) // also if an earlier attempt gave it that name
			n, ok := t.o.Format.Parse(name[2:])
			if ok && n.Kind == layout.KindTransaction && !yield(n.TID, nil) {
				return
			}
		}
	}
}

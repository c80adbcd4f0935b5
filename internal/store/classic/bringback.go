package classic

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// restorer brings back the revisions first, then the pointers that name them, the newest of
// several.
type restorer struct {
	t      *Store
	stamp  int64
	alone  bool // nothing is asked about the objects
	stamps stampSet
	every  []int64 // all stamps of files put aside, the newest first; nil: not known
	batch  []aside // that waits until these are known
	look   func() (aside, error, bool)
	unlook func()
	left   []int64 // whose pointers come back, the newest last; nil: the revisions do not all
	next   func() (aside, error, bool)
	stop   func()
	ended  bool                 // there are no more after the batch
	rely   func() (error, bool) // on the work of an attempt before; nil: done
	unrely func()
}

// stampSet has the stamps that a walk has seen.
type stampSet struct{ pointers, all map[int64]struct{} }

// BringBack implements [store.Packer]. See [restorer.companions].
func (t *Store) BringBack(stamp int64) store.Restorer {
	r := &restorer{t: t, stamp: stamp}
	r.begin(func(a aside) bool {
		return stamp == 0 || a.stamp == stamp || a.name.Kind == layout.KindBlob && r.ofOurs(a.name)
	})
	return r
}

// FileRestorer brings back files of which the objects are not asked about.
type FileRestorer interface {
	store.Restorer
	// Names brings back some files of A, durably, the last one of several, when the steps are done. Those that no
	// pack has put aside are passed over.
	Names(names []layout.Name, n *store.Restored) error
}

// BringBackIf is BringBack of those files that are wanted, whatever their stamps are.
func (t *Store) BringBackIf(wanted func(n layout.Name) bool) FileRestorer {
	r := &restorer{t: t, alone: true}
	r.begin(func(a aside) bool { return wanted(a.name) })
	return r
}

// begin goes through all that is not a pointer.
func (r *restorer) begin(wanted func(aside) bool) {
	r.relyAgain()
	r.stamps = stampSet{make(map[int64]struct{}), make(map[int64]struct{})}
	r.walk(func(a aside) bool {
		r.stamps.all[a.stamp] = struct{}{}
		if a.name.Kind != layout.KindPointer {
			return wanted(a)
		}
		if r.stamp == 0 || a.stamp == r.stamp {
			r.stamps.pointers[a.stamp] = struct{}{}
		}
		return false
	})
}

// relyAgain begins to rely on the work of an attempt before.
func (r *restorer) relyAgain() {
	r.rely, r.unrely = iter.Pull(r.t.relyOnRemovals(layout.KindPointer, layout.KindRevision, layout.KindBlob, layout.KindTransaction))
}

// walk goes through the wanted ones among the files put aside.
func (r *restorer) walk(want func(aside) bool) {
	if r.stop != nil {
		r.stop()
	}
	r.next, r.stop = iter.Pull2(func(yield func(aside, error) bool) {
		for a, err := range r.t.asides() {
			if (err != nil || a.path == "" || want(a)) && !yield(a, err) {
				return
			}
		}
	})
}

// Close implements [store.Restorer].
func (r *restorer) Close() {
	r.stop()
	r.unrely()
	if r.look != nil {
		r.unlook()
	}
}

// Step implements [store.Restorer].
func (r *restorer) Step(limit int, begins func() error) (n store.Restored, err error) {
	if r.rely != nil {
		err, on := r.rely()
		if err != nil {
			r.unrely()
			r.relyAgain()
		}
		if on {
			return n, err
		}
		r.rely = nil
	}
	if r.look != nil {
		if known, err := r.lookAtStamps(); !known || err != nil {
			return n, err
		}
	}
	var walked error
	for range limit - len(r.batch) {
		a, err, ok := r.next()
		if !ok || err != nil {
			r.ended, walked = true, err
			break
		}
		if a.path == "" {
			break
		}
		if err := begins(); err != nil {
			return n, err
		}
		r.batch = append(r.batch, a)
	}
	err = r.companions(r.batch, &n)
	n.Pointing = r.left != nil
	if errors.Is(err, errStampsNotKnown) {
		r.look, r.unlook = iter.Pull2(r.t.asides())
		return n, walked
	}
	if err = errors.Join(err, walked); err != nil {
		return n, err
	}
	n.Seen += int64(len(r.batch))
	r.batch = nil
	if r.ended {
		n.Done, r.ended = r.pass(), false
	}
	n.Pointing = r.left != nil
	return n, nil
}

// pass goes on with the pointers of the next stamp. done: there is none.
func (r *restorer) pass() (done bool) {
	if r.left == nil {
		r.left = append([]int64{}, slices.Sorted(maps.Keys(r.stamps.pointers))...)
		r.every = newestFirst(r.stamps.all)
	}
	if len(r.left) == 0 {
		return true
	}
	stamp := r.left[len(r.left)-1]
	r.left = r.left[:len(r.left)-1]
	r.walk(func(a aside) bool { return a.name.Kind == layout.KindPointer && a.stamp == stamp })
	return false
}

func newestFirst(stamps map[int64]struct{}) []int64 {
	list := append([]int64{}, slices.Sorted(maps.Keys(stamps))...)
	slices.Reverse(list)
	return list
}

func (r *restorer) file(e *Edit, a aside, n *store.Restored) error {
	info, err := r.t.fs.Stat(a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it came back with something else
	}
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

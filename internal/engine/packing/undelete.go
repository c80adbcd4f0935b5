package packing

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Undelete brings back what packs put aside: those of one pack, which is named by
// the seconds in the names of the files, or of all (stamp 0). x.packed stays as it
// is; the next pack removes all of it again. If it is interrupted, it may be
// repeated.
func (s *Packer) Undelete(ctx context.Context, stamp int64) (zodb.UndeleteResult, error) {
	if !s.o.Full {
		return zodb.UndeleteResult{}, fmt.Errorf("undelete: %w", zodb.ErrUnsupported)
	}
	release, err := s.beginMaintenance(ctx)
	if err != nil {
		return zodb.UndeleteResult{}, err
	}
	defer release()
	ctx, cancel := s.untilClose(ctx)
	defer cancel()
	p, stop := s.report()
	defer stop()
	u := &undelete{s: s, p: p, stamp: stamp, stamps: make(map[int64]struct{})}
	if err := errors.Join(u.run(ctx), u.ended()); err != nil {
		err = whyEnded(ctx, err)
		s.o.Log.Warn("undelete ended", "err", err)
		return u.result, fmt.Errorf("undelete: %w", vfs.WithFull(err))
	}
	s.o.Log.Info("undeleted", "objects", u.result.Objects, "revisions", u.result.Revisions, "transactions", u.result.Transactions, "skipped", u.result.Skipped)
	return u.result, nil
}

// undelete is one call of [Packer.Undelete].
type undelete struct {
	s      *Packer
	p      *progress
	stamp  int64
	stamps map[int64]struct{} // that were seen
	tids   []zodb.TID         // all transactions that are there
	noted  bool               // misc/undeleted says that it runs
	result zodb.UndeleteResult
}

// run brings back the revisions first, then the pointers that name them, the
// newest of several, and at last links the transactions.
func (u *undelete) run(ctx context.Context) error {
	u.p.phase("bringing back revisions", 0)
	err := u.bringBack(ctx, func(n layout.Name, stamp int64) bool {
		u.stamps[stamp] = struct{}{}
		return n.Kind != layout.KindPointer
	})
	if err != nil {
		return err
	}
	u.p.phase("bringing back objects", 0)
	for _, stamp := range slices.Backward(slices.Sorted(maps.Keys(u.stamps))) {
		err := u.bringBack(ctx, func(n layout.Name, at int64) bool { return n.Kind == layout.KindPointer && at == stamp })
		if err != nil {
			return err
		}
	}
	if err := u.list(ctx); err != nil {
		return err
	}
	u.p.phase("linking transactions", int64(len(u.tids)))
	return u.link(ctx)
}

// list finds out which transactions there are. That they came back by this call is
// not asked: one before it may have been interrupted before it linked them.
func (u *undelete) list(ctx context.Context) error {
	for name, err := range vfs.Walk(u.s.o.FS, "A") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		u.s.o.Store.Rely(name) // an undelete that was killed may have brought it back
		if n, ok := u.s.o.Store.Format().Parse(name[2:]); ok && n.Kind == layout.KindTransaction {
			u.tids = append(u.tids, n.TID)
		}
	}
	return nil
}

// deletedFile is a file that a pack put aside.
type deletedFile struct {
	path string
	name layout.Name
}

// bringBack gives the files that are wanted their names again.
func (u *undelete) bringBack(ctx context.Context, want func(n layout.Name, stamp int64) bool) error {
	s := u.s
	var walked error
	next, stop := iter.Pull(func(yield func(deletedFile) bool) {
		walked = s.deletedFiles(func(path string, n layout.Name, stamp int64) error {
			if (u.stamp == 0 || u.stamp == stamp) && want(n, stamp) && !yield(deletedFile{path, n}) {
				return state.ErrStopped
			}
			return nil
		})
	})
	defer stop()
	err := s.o.State.RunTask(ctx, func() (bool, error) {
		b := s.o.Store.NewEdit(store.A)
		var n zodb.Counts
		for range stepFiles {
			f, ok := next()
			if !ok {
				return true, errors.Join(b.Sync(), u.count(n))
			}
			if err := u.file(b, f, &n); err != nil {
				return false, err
			}
			u.p.done.Add(1)
		}
		return false, errors.Join(b.Sync(), u.count(n))
	})
	if errors.Is(walked, state.ErrStopped) {
		walked = nil
	}
	return errors.Join(err, walked)
}

// begins notes, before the first file gets its name, that it runs.
func (u *undelete) begins() error {
	if u.noted {
		return nil
	}
	err := pack.Undeleted{Running: true, Time: u.s.o.Clock().UTC()}.Note(u.s.o.FS, u.s.o.Sync)
	u.noted = err == nil
	return err
}

// ended notes that it does not any more. If that fails the next open does it.
func (u *undelete) ended() error {
	if !u.noted {
		return nil
	}
	return u.s.undeleteEnded()
}

func (s *Packer) undeleteEnded() error {
	return pack.Undeleted{Time: s.o.Clock().UTC()}.Note(s.o.FS, s.o.Sync)
}

// EndUndelete is called by Open, before anybody can commit: a process before may have
// been killed while it brought files back.
func (s *Packer) EndUndelete() {
	was, err := pack.ReadUndeleted(s.o.FS)
	if err != nil || was.Running {
		err = s.undeleteEnded()
	}
	if err != nil {
		s.o.Log.Warn("the next backup has to be a full one: an undelete was interrupted", "err", err)
	}
}

func (u *undelete) file(b *classic.Edit, f deletedFile, n *zodb.Counts) error {
	if err := u.begins(); err != nil {
		return err
	}
	info, err := u.s.o.FS.Stat(f.path)
	if err != nil {
		return err
	}
	back, err := b.BringBack(f.name, f.path)
	if err != nil {
		return err
	}
	if !back {
		u.result.Skipped++
		return nil
	}
	switch f.name.Kind {
	case layout.KindPointer:
		u.result.Objects++
		n.Objects++
		return nil
	case layout.KindRevision:
		u.result.Revisions++
		n.Revisions++
	case layout.KindTransaction:
		u.result.Transactions++
		n.Transactions++
	case layout.KindBlob:
		u.result.Blobs++
		n.BlobBytes += info.Size
	}
	n.Bytes += info.Size
	return nil
}

// count adds what came back to the counts.
func (u *undelete) count(n zodb.Counts) error {
	s := u.s
	s.o.Host.Recount(n, 1)
	return nil
}

// link puts the transactions that are not in the chain into it again: it goes from
// the newest to the oldest, taking from the chain or from all, whichever is later.
func (u *undelete) link(ctx context.Context) error {
	s := u.s
	slices.Sort(u.tids)
	var at, next zodb.TID // the one that was looked at last, and the one after it in the old chain
	return s.o.State.RunTask(ctx, func() (bool, error) {
		var links []link
		for range chainStep {
			if at == 0 {
				if at = s.o.State.FlushedTID(); at == 0 { // nothing has a file yet
					return true, nil
				}
				t, err := s.o.Host.Transaction(at)
				if err != nil {
					return false, err
				}
				next = t.Previous
			}
			var there *record.Transaction
			if next != 0 {
				t, err := s.o.Host.Transaction(next)
				if err != nil && !errors.Is(err, zodb.ErrNotFound) {
					return false, err
				}
				there = t
			}
			for len(u.tids) > 0 && u.tids[len(u.tids)-1] >= at { // it is in the chain already
				u.tids = u.tids[:len(u.tids)-1]
			}
			if len(u.tids) == 0 {
				if there != nil {
					links = append(links, link{at, next})
				}
				return true, s.relink(links)
			}
			if back := u.tids[len(u.tids)-1]; there == nil || back > next {
				u.tids = u.tids[:len(u.tids)-1]
				links = append(links, link{at, back})
				if there == nil { // what it names itself may be the next one
					t, err := s.o.Host.Transaction(back)
					if err != nil {
						return false, err
					}
					next = t.Previous
				}
				at = back
				u.p.done.Add(1)
				continue
			}
			links = append(links, link{at, next})
			at, next = next, there.Previous
		}
		return false, s.relink(links)
	})
}

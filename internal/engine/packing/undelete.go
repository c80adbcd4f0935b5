package packing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Undelete brings back the files that packs put aside: those of one pack, which is named
// by the seconds in the names of the files, or those of all (stamp 0). x.packed stays as
// it is; the next pack removes all of it again. If it is interrupted, it may be repeated.
func (s *Packer) Undelete(ctx context.Context, stamp int64) (zodb.UndeleteResult, error) {
	if !s.o.Home.Full {
		return zodb.UndeleteResult{}, fmt.Errorf("undelete: %w", zodb.ErrUnsupported)
	}
	release, err := s.beginMaintenance(ctx, nil)
	if err != nil {
		return zodb.UndeleteResult{}, err
	}
	defer release()
	ctx, cancel := s.untilClose(ctx)
	defer cancel()
	p, stop := s.report()
	defer stop()
	u := &undelete{s: s, p: p, stamp: stamp}
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
	tids   []zodb.TID // all transactions that are there
	noted  bool       // misc/undeleted says that it runs
	result zodb.UndeleteResult
}

// run brings back the revisions first, then the objects that they belong to, and at last
// links the transactions.
func (u *undelete) run(ctx context.Context) error {
	u.p.phase("bringing back revisions", 0)
	if err := u.bringBack(ctx); err != nil {
		return err
	}
	// That they came back by this call is not asked: one before it may have been interrupted
	// before it linked them.
	for tid, err := range u.s.o.Store.BroughtBack(ctx) {
		if err != nil {
			return err
		}
		u.tids = append(u.tids, tid)
	}
	u.p.phase("linking transactions", int64(len(u.tids)))
	return u.link(ctx)
}

// bringBack gives everything its place again. The log has the phases from here and not from
// within a step: the worker does that, and the reader of the log may be slow.
func (u *undelete) bringBack(ctx context.Context) error {
	back := u.s.o.Store.BringBack(u.stamp)
	defer back.Close()
	objects, done := false, false
	for !done {
		err := u.s.o.State.RunTask(ctx, func() (bool, error) {
			n, err := back.Step(stepFiles, u.begins)
			u.count(n, err)
			done = n.Done
			begins := n.Pointing && !objects
			objects = objects || begins
			return done || begins, err
		})
		if err != nil {
			return err
		}
		if !done {
			u.p.phase("bringing back objects", 0)
		}
	}
	return nil
}

// count adds the work that a step has done, as far as it came.
func (u *undelete) count(n store.Restored, err error) {
	u.result.Objects += n.Objects
	u.result.Revisions += n.Revisions
	u.result.Transactions += n.Transactions
	u.result.Blobs += n.Blobs
	u.result.Skipped += n.Skipped
	u.result.NoBlob += n.NoBlob
	u.p.done.Add(n.Seen)
	if err == nil || n.Counts != (store.Counts{}) {
		u.s.o.Counter.Recount(state.CountsOf(n.Counts), 1)
	}
}

// begins notes, before the first file gets its name, that it runs.
func (u *undelete) begins() error {
	if u.noted {
		return nil
	}
	err := pack.Undeleted{Running: true, Time: u.s.o.Clock().UTC()}.Note(u.s.o.Home.FS, u.s.o.Home.Sync())
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
	return pack.Undeleted{Time: s.o.Clock().UTC()}.Note(s.o.Home.FS, s.o.Home.Sync())
}

// EndUndelete is called by Open, before anybody can commit: a process before may have
// been killed while it brought files back, as may a salvage.
func (s *Packer) EndUndelete() {
	was, err := pack.ReadUndeleted(s.o.Home.FS)
	if err == nil && was.Running {
		s.o.Log.Warn("an undelete or a salvage was interrupted: a part of the files has not come back; repeat “pack --undelete” or “salvage”, which brings back the rest", "begun", was.Time)
	}
	if err != nil || was.Running {
		err = s.undeleteEnded()
	}
	if err != nil {
		s.o.Log.Warn("the next backup has to be a full one: an undelete or a salvage was interrupted", "err", err)
	}
}

// link puts the transactions that are not in the chain into it again: it goes from
// the newest to the oldest, taking from the chain or from all, whichever is later.
func (u *undelete) link(ctx context.Context) error {
	s := u.s
	slices.Sort(u.tids)
	var at, next zodb.TID // the one that was looked at last, and the one after it in the old chain
	return s.o.State.RunTask(ctx, func() (bool, error) {
		var links []store.Link
		for range chainStep {
			if at == 0 {
				if at = s.o.State.FlushedTID(); at == 0 { // nothing has a file yet
					return true, nil
				}
				t, err := s.direct.Transaction(at)
				if err != nil {
					return false, err
				}
				next = before(t)
			}
			var there *record.Transaction
			if next != 0 {
				t, err := s.direct.Transaction(next)
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
					links = append(links, store.Link{TID: at, Previous: next})
				}
				return true, s.o.Store.Relink(links)
			}
			if back := u.tids[len(u.tids)-1]; there == nil || back > next {
				u.tids = u.tids[:len(u.tids)-1]
				links = append(links, store.Link{TID: at, Previous: back})
				if there == nil { // the name in it may be the next one
					t, err := s.direct.Transaction(back)
					if err != nil {
						return false, err
					}
					next = before(t)
				}
				at = back
				u.p.done.Add(1)
				continue
			}
			links = append(links, store.Link{TID: at, Previous: next})
			at, next = next, before(there)
		}
		return false, s.o.Store.Relink(links)
	})
}

// before returns the transaction that one names as the one before; 0 if that is later, which
// is damage that no checksum covers: then the names of files say which one it is.
func before(t *record.Transaction) zodb.TID {
	if t.Previous >= t.TID {
		return 0
	}
	return t.Previous
}

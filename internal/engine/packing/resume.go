package packing

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// ReadPlan is called by Open: it looks whether a pack was interrupted while it removed,
// and if so goes on guarding the condemned objects.
func (s *Packer) ReadPlan() error {
	files, found, spared, err := pack.OpenFiles(s.o.Home.FS, s.o.Home.Sync())
	if err != nil {
		return err
	}
	s.files = files
	if !found {
		return nil
	}
	v := s.newPlan()
	v.gc, v.state = true, packSweeps
	h, planned, err := v.readPlan()
	if err == nil {
		err = s.o.SameA()
	}
	if err != nil {
		s.o.Log.Warn("the plan of an interrupted pack cannot be used and is given up; the next pack starts over", "path", files.Path(), "err", err)
		if err := v.end(); err != nil {
			err = errors.Join(err, files.Close())
			// Without a guard nobody may write: a later open may find it after all, and use it.
			return fmt.Errorf("the plan of an interrupted pack cannot be used, and it cannot be removed: %w", err)
		}
		return nil
	}
	v.spareAgain(spared)
	if err := v.keep(); err != nil {
		// On a full disk it is tried again when it is needed.
		s.o.Log.Warn("files that an interrupted pack has spared cannot be kept yet", "err", err)
	}
	s.guard.plan = v
	s.o.State.CountsAreInexact() // a step may not be in them
	p := &progress{s: s, begun: s.o.Clock()}
	p.planned.Store(planned)
	s.left = &sweep{s: s, v: v, h: h, p: p, result: new(zodb.PackResult), resumed: true}
	return nil
}

// readPlan takes up the condemned objects of a plan, and returns the number of its
// entries.
func (v *plan) readPlan() (h pack.Header, planned int64, err error) {
	v.condemned = oidset.New(oidsetLimit)
	f, err := v.files.Plan()
	if err != nil {
		return h, 0, err
	}
	defer f.Close()
	h, entries, err := pack.Read(f)
	if err == nil {
		err = v.s.fits(h)
	}
	if err != nil {
		return h, 0, err
	}
	for e, err := range entries {
		if err != nil {
			return h, 0, err
		}
		planned++
		if !e.Whole {
			continue
		}
		if ok, _ := v.condemned.Add(e.OID); !ok {
			return h, 0, errTooManyOIDs
		}
	}
	return h, planned, nil
}

// fits returns an error unless A is, or descends from, the one that a plan was made for.
// Somebody may have put a copy in its place, from a backup say, and in that copy an
// object that later became garbage may be in use.
func (s *Packer) fits(h pack.Header) error {
	if h.Identity != s.o.Home.Identity {
		return fmt.Errorf("it is of the storage %s", h.Identity)
	}
	if flushed := s.o.State.FlushedTID(); h.Last > flushed {
		return fmt.Errorf("it was made after transaction %s, and A ends with %s", h.Last, flushed)
	}
	sum, err := s.transactionSum(h.Last)
	if err == nil && !bytes.Equal(sum, h.Sum) {
		err = fmt.Errorf("transaction %s of A differs from the one that it was made for", h.Last)
	}
	return err
}

// transactionSum returns the SHA-256 of the file of a transaction, without the name of
// its predecessor.
func (s *Packer) transactionSum(tid zodb.TID) ([]byte, error) {
	b, where, err := s.o.Store.Get(layout.Transaction(tid))
	if err != nil {
		return nil, err
	}
	if len(b) < record.TransactionHeaderSize {
		return nil, &zodb.CorruptError{Path: where, TID: tid, Reason: fmt.Sprintf("%d bytes are not a transaction", len(b))}
	}
	b = bytes.Clone(b)
	clear(b[24:32])
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// Resume goes on in the background with a pack that ReadPlan has found interrupted. For the
// open alone.
func (s *Packer) Resume() {
	w := s.left
	if w == nil {
		return
	}
	s.turn <- struct{}{}
	go func() {
		defer func() { <-s.turn }()
		s.o.Log.Info("going on with a pack that was interrupted", "tid", w.h.Threshold)
		if err := s.finishLeft(s.o.Closing); err != nil {
			s.o.Log.Warn("the interrupted pack could not be finished; the next one goes on", "err", err)
		}
	}()
}

// finishLeft goes on with a pack that was interrupted, or only ends it if it was
// carried out, or given up. It is the caller's turn to pack.
func (s *Packer) finishLeft(ctx context.Context) error {
	w := s.left
	if w == nil {
		return nil
	}
	ctx, cancel := s.untilClose(ctx)
	defer cancel()
	p, stop := s.report()
	defer stop()
	p.planned.Store(w.p.planned.Load())
	w.p = p
	sweeps := w.v.is() < packIsEnding
	err := w.again(ctx)
	s.leave(w, err)
	if err != nil {
		return err
	}
	if sweeps {
		s.afterPack()
		s.o.Log.Info("packed", "tid", w.h.Threshold, "objects", w.result.Objects, "revisions", w.result.Revisions,
			"transactions", w.result.Transactions, "blobs", w.result.Blobs, "bytes", w.result.Bytes)
	}
	return nil
}

// leave keeps a pack that is not over for the next one to go on with.
func (s *Packer) leave(w *sweep, why error) {
	if w.v.over() {
		s.left, s.whyNot = nil, nil
		return
	}
	s.left, s.whyNot = w, why
}

// Close waits for the pack that is under way, which ends soon because Close was
// called; none begins any more. The rest of an unfinished one stays for the next open;
// only a plan that was given up is tried to be removed once more.
func (s *Packer) Close() error {
	s.turn <- struct{}{} // for good
	if s.files == nil {
		return nil
	}
	if w := s.left; w != nil && w.v.is() == packIsEnding {
		if err := w.v.end(); err != nil {
			w.v.s.o.Log.Warn("the plan of a pack is still there; the next open carries it out", "err", err)
		}
	}
	return s.files.Close()
}

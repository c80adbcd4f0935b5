package engine

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

// readPlan is called by Open: it looks whether a pack was interrupted while it
// removed, and if so goes on guarding what it has condemned.
func (s *Storage) readPlan() (*sweep, error) {
	files, found, spared, err := pack.OpenFiles(s.fs, s.syncOptions())
	if err != nil {
		return nil, err
	}
	s.packs.files = files
	if !found {
		return nil, nil
	}
	v := s.newVerdict()
	v.gc, v.state = true, packSweeps
	h, planned, err := v.readPlan()
	if err == nil {
		err = s.anotherA()
	}
	if err != nil {
		s.log.Warn("the plan of an interrupted pack cannot be used and is given up; the next pack starts over", "path", files.Path(), "err", err)
		if err := v.end(); err != nil {
			err = errors.Join(err, files.Close())
			// Without a guard nobody may write: a later open may find it after all, and use it.
			return nil, fmt.Errorf("the plan of an interrupted pack cannot be used, and it cannot be removed: %w", err)
		}
		return nil, nil
	}
	v.spareAgain(spared)
	if err := v.keep(); err != nil {
		// On a full disk it is tried again when it is needed.
		s.log.Warn("what an interrupted pack has spared cannot be kept yet", "err", err)
	}
	s.guard.verdict = v
	s.state.CountsAreInexact() // a step may not be in them
	p := &packProgress{s: s, begun: s.o.Clock()}
	p.planned.Store(planned)
	return &sweep{s: s, v: v, h: h, p: p, result: new(PackResult), resumed: true}, nil
}

// anotherA says why A may be another one than that beside which the files in misc were
// written, or than what became of it here; nil: it is that one. Another process may
// have gone on with a copy of A, and what was garbage may be in use there: this HOME has
// guarded none of what was committed to it.
func (s *Storage) anotherA() error {
	h := &s.history
	last, flushed := s.state.LastTID(), s.state.FlushedTID()
	switch counted := s.countedTID(); {
	case h.err != nil:
		return fmt.Errorf("it cannot be told whether A is the one that it was made for: %w", h.err)
	case h.reason != "":
		return fmt.Errorf("the directory A may not be the one that it was made for: %s", h.reason)
	case h.past > last:
		return fmt.Errorf("the directory A is older than it was when transaction %s was there", h.past)
	case counted < flushed: // which is written before x.serial, by each flush
		return fmt.Errorf("the directory A ends with transaction %s, and what was flushed here ends with %s", flushed, counted)
	}
	return nil
}

// readPlan takes up what a plan condemns, and returns how many entries it has.
func (v *verdict) readPlan() (h pack.Header, planned int64, err error) {
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
			return h, 0, errOIDsTooFar
		}
	}
	return h, planned, nil
}

// fits returns an error unless A is the one that a plan was made for, or what
// became of it. Somebody may have put a copy in its place, from a backup say, and
// in that what was garbage later may be in use.
func (s *Storage) fits(h pack.Header) error {
	if h.Identity != s.identity {
		return fmt.Errorf("it is of the storage %s", h.Identity)
	}
	if flushed := s.state.FlushedTID(); h.Last > flushed {
		return fmt.Errorf("it was made after transaction %s, and A ends with %s", h.Last, flushed)
	}
	sum, err := s.transactionSum(h.Last)
	if err == nil && !bytes.Equal(sum, h.Sum) {
		err = fmt.Errorf("transaction %s of A is another one than the one after which it was made", h.Last)
	}
	return err
}

// transactionSum returns the SHA-256 of the file of a transaction, without what it
// names as the one before.
func (s *Storage) transactionSum(tid zodb.TID) ([]byte, error) {
	b, where, err := s.store.Get(layout.Transaction(tid))
	if err != nil {
		return nil, err
	}
	if len(b) < record.TransactionHeaderSize {
		return nil, &zodb.CorruptError{Path: where, TID: tid, Reason: fmt.Sprintf("%d bytes are no transaction", len(b))}
	}
	b = bytes.Clone(b)
	clear(b[24:32])
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// resumePack goes on with an interrupted pack in the background.
func (s *Storage) resumePack(w *sweep) {
	s.packs.one <- struct{}{}
	s.packs.left = w
	go func() {
		defer func() { <-s.packs.one }()
		s.log.Info("going on with a pack that was interrupted", "tid", w.h.Threshold)
		if err := s.finishLeft(s.closing); err != nil {
			s.log.Warn("the interrupted pack could not be finished; the next one goes on", "err", err)
		}
	}()
}

// finishLeft goes on with a pack that was interrupted, or only ends it if it was
// carried out, or given up. It is the caller's turn to pack.
func (s *Storage) finishLeft(ctx context.Context) error {
	w := s.packs.left
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
	s.packs.leave(w, err)
	if err != nil {
		return err
	}
	if sweeps {
		s.afterPack()
		s.log.Info("packed", "tid", w.h.Threshold, "objects", w.result.Objects, "revisions", w.result.Revisions,
			"transactions", w.result.Transactions, "blobs", w.result.Blobs, "bytes", w.result.Bytes)
	}
	return nil
}

// leave keeps a pack that is not over for the next one to go on with.
func (p *packs) leave(w *sweep, why error) {
	if w.v.over() {
		p.left, p.whyNot = nil, nil
		return
	}
	p.left, p.whyNot = w, why
}

// close waits for the pack that is under way, which ends soon because Close was
// called; none begins any more. What is left of one stays for the next open, but for
// a plan that was given up: it is tried once more to remove that.
func (p *packs) close() error {
	p.one <- struct{}{} // for good
	if p.files == nil {
		return nil
	}
	if w := p.left; w != nil && w.v.is() == packIsEnding {
		if err := w.v.end(); err != nil {
			w.v.s.log.Warn("the plan of a pack is still there; the next open carries it out", "err", err)
		}
	}
	return p.files.Close()
}

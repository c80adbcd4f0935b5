package dirstorage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// readPlan is called by Open: it looks whether a pack was interrupted while it
// removed, and if so goes on guarding what it has condemned.
func (s *Storage) readPlan() (*sweep, error) {
	f, err := s.fs.Open(planFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v := &verdict{s: s, gc: true, condemned: oidset.New(oidsetLimit), spared: oidset.New(oidsetLimit)}
	h, entries, err := pack.Read(f)
	if err == nil {
		err = s.fits(h)
	}
	planned := int64(0)
	if err == nil {
		for e, eerr := range entries {
			if err = eerr; err != nil {
				break
			}
			planned++
			if !e.Whole {
				continue
			}
			if ok, _ := v.condemned.Add(e.OID); !ok {
				err = errOIDsTooFar
				break
			}
		}
	}
	if err != nil {
		s.log.Warn("the plan of an interrupted pack cannot be used and is given up; the next pack starts over", "path", planFile, "err", err)
		return nil, s.removePlan(v)
	}
	if err := s.reopenSpared(v); err != nil {
		return nil, err
	}
	s.guard.verdict = v
	s.counts.Exact = false // a step may not be in them
	p := &packProgress{s: s, begun: s.o.Clock()}
	p.planned.Store(planned)
	return &sweep{s: s, v: v, h: h, p: p, result: new(PackResult), resumed: true}, nil
}

// fits returns an error unless A is the one that a plan was made for, or what
// became of it. Somebody may have put a copy in its place, from a backup say, and
// in that what was garbage later may be in use.
func (s *Storage) fits(h pack.Header) error {
	if h.Identity != s.identity {
		return fmt.Errorf("it is of the storage %s", h.Identity)
	}
	if h.Last > s.flushed {
		return fmt.Errorf("it was made after transaction %s, and A ends with %s", h.Last, s.flushed)
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
	b, where, err := s.tree.Get(layout.Transaction(tid))
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

// reopenSpared reads what was spared before a crash, and goes on with that file.
func (s *Storage) reopenSpared(v *verdict) error {
	b, err := s.fs.ReadFile(sparedFile)
	if errors.Is(err, fs.ErrNotExist) {
		v.file, err = s.fs.Create(sparedFile)
		return err
	}
	if err != nil {
		return err
	}
	v.readSpared(b)
	v.file, err = s.fs.OpenWrite(sparedFile)
	return err
}

// resumePack goes on with an interrupted pack in the background.
func (s *Storage) resumePack(w *sweep) {
	s.packs.one <- struct{}{}
	s.packs.resumed.Go(func() {
		defer func() { <-s.packs.one }()
		s.log.Info("going on with a pack that was interrupted", "tid", w.h.Threshold)
		s.packs.failed = w
		if err := s.finishFailed(s.closing); err != nil {
			s.log.Warn("the interrupted pack could not be finished; the next one goes on", "err", err)
		}
	})
}

// finishFailed goes on with a pack whose removing was interrupted. it is the caller's turn to pack.
func (s *Storage) finishFailed(ctx context.Context) error {
	w := s.packs.failed
	if w == nil {
		return nil
	}
	ctx, cancel := s.untilClose(ctx)
	defer cancel()
	p, stop := s.report()
	defer stop()
	p.planned.Store(w.p.planned.Load())
	w.p = p
	if err := w.run(ctx); err != nil {
		s.packs.whyNot = err
		return err
	}
	s.packs.failed = nil
	s.afterPack()
	s.log.Info("packed", "tid", w.h.Threshold, "objects", w.result.Objects, "revisions", w.result.Revisions,
		"transactions", w.result.Transactions, "blobs", w.result.Blobs, "bytes", w.result.Bytes)
	return nil
}

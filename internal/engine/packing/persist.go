package packing

import (
	"context"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/read"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// A fault that passes does not end a pack that has begun to read or to remove: the step
// is tried again, at longer and longer intervals, and Progress names the lacking
// resource. If the fault lasts, the caller of the pack is told, since perhaps nobody
// makes room; the rest is left to the next pack or open. A plan that cannot be written
// because the disk is full is given up at once: nothing was removed.

// triesOfAPack is how often in a row something is tried that a pack needs: with the
// default of Options.RetryInterval for a quarter of a minute.
const triesOfAPack = 5

// roomForPack is how much has to be free for a pack, if the reserve is to be kept.
const roomForPack = 32 << 20

// persist does something again until it succeeds, fails for a reason that lasts, was
// tried too often, or ctx ends; the error is the last one. do may be repeated.
func (p *progress) persist(ctx context.Context, do func() error) error {
	s := p.s
	for inRow := 1; ; inRow++ {
		err := do()
		if !vfs.Passes(err) || ctx.Err() != nil || inRow == triesOfAPack {
			if inRow > 1 {
				p.lacks(nil)
			}
			return err
		}
		s.o.State.NotePassing()
		p.lacks(err)
		if vfs.FaultOf(err) == vfs.FullFault && p.takesReserve(ctx) {
			s.o.Space.MakeRoom(roomForPack)
		}
		timer := time.NewTimer(state.BackOff(s.o.RetryInterval, inRow))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// lacks notes why a pack cannot go on; nil: it can. It is in the log once.
func (p *progress) lacks(cause error) {
	text := ""
	if cause != nil {
		text = cause.Error()
	}
	p.mu.Lock()
	first := p.lacking == "" && text != ""
	p.lacking = text
	p.mu.Unlock()
	if first {
		p.s.o.Log.Warn("a pack waits: it is tried again", "for", text)
	}
}

// again does the sweep until it comes to its end, or cannot. That its plan cannot be taken
// away is left to the next pack: the guard goes on meanwhile.
func (w *sweep) again(ctx context.Context) (err error) {
	_ = w.p.persist(ctx, func() error { // its result is in err, too
		err = w.run(ctx)
		if w.v.is() >= packIsEnding {
			return nil
		}
		if vfs.Passes(err) {
			w.resumed = true
			w.s.o.State.CountsAreInexact() // the removals of the step are not in them
		}
		return err
	})
	return err
}

// startPack does a pack, and starts over if something other than room was lacking before
// anything was removed.
func (s *Packer) startPack(ctx context.Context, o zodb.PackOptions, p *progress) (run *packRun, err error) {
	_ = p.persist(ctx, func() error { // its result is in err, too
		run = &packRun{s: s, o: o, p: p}
		run.result.Threshold, err = run.run(ctx)
		if s.left == nil && !removed(&run.result) && vfs.FaultOf(err) == vfs.ScarceFault {
			return err
		}
		return nil
	})
	return run, err
}

// patientSource is [read.Direct] for a pack: it waits until a resource that a read lacks is
// there again. Transactions do not read through it: others would wait for them.
type patientSource struct {
	read.Direct
	p *progress
}

// Current implements pack.Source.
func (s patientSource) Current(ctx context.Context, oid zodb.OID) (o *record.Object, err error) {
	err = s.p.persist(ctx, func() error { o, err = s.Direct.Current(ctx, oid); return err })
	return o, err
}

// Revision implements pack.Source.
func (s patientSource) Revision(ctx context.Context, oid zodb.OID, tid zodb.TID) (o *record.Object, err error) {
	err = s.p.persist(ctx, func() error { o, err = s.Direct.Revision(ctx, oid, tid); return err })
	return o, err
}

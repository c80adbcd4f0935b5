package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Writers are faster than the flush, so they have to wait for it at some time. A
// gate that closes when the backlog is used up makes all of them stand still for
// as long as a batch takes. So they are slowed down before: from half of the
// backlog on each transaction waits a little, so that as many files come as the
// flush has been seen to make, more of them below three quarters of the backlog
// and fewer above. It settles near three quarters, and the gate stays open.
const (
	paceFrom = 0.5
	// maxPause bounds the wait of one transaction.
	maxPause = 200 * time.Millisecond
	// leastPause is less than what a timer can do; it is waited together with the next one.
	leastPause = 200 * time.Microsecond
	// gateCheck is how often a closed gate looks for the progress of the flush.
	gateCheck = 5 * time.Millisecond
	// measuredFrom is how many files a flush must have to tell how fast flushes are.
	measuredFrom = 200
)

// pace is how fast writers may go. Storage.mu guards it.
type pace struct {
	rate float64   // files a second that the flush makes; 0 = not known
	next time.Time // when the next transaction may go on
	// flushing is the batch that is under way.
	flushing struct {
		transactions, files int
		bytes               int64
	}
}

// files is about how many files the flush of the transaction will make.
func (t *Txn) files() int { return 3 + 2*t.ops.n }

// admit makes a transaction wait as it has to, and longer while more is unflushed than
// the settings allow, or than there is room for on the disk. If it cannot be flushed
// because the disk is full, waiting would be for ever.
func (s *Storage) admit(ctx context.Context, t *Txn) error {
	paced := false
	need := s.roomFor(t)
	// Who votes again keeps what an earlier vote got: he holds locks, and those who have room
	// may wait for them.
	again := need.fitsInto(t.promised)
	lined := false
	defer func() {
		if lined {
			s.leaveLine(t)
		}
	}()
	for {
		s.mu.Lock()
		if s.hasTurn(t) && s.roomIsOld(need) {
			s.mu.Unlock()
			s.lookForRoom()
			s.mu.Lock()
		}
		if !again {
			s.unpromise(t) // of an earlier vote
		}
		err := s.writable()
		used := s.worker.used(s)
		wait := time.Duration(0)
		switch {
		case err != nil:
		case s.worker.watch.refuse:
			err = errReserved
		case used >= 1 && s.worker.trouble.cause != nil:
			err = vfs.WithPassing(fmt.Errorf("transactions wait to be flushed: %w", s.worker.trouble.cause))
		case used >= 1:
			wait = gateCheck
		case !s.unflushed.after(s.worker.crowd) && s.worker.trouble.cause == nil:
			wait = gateCheck
		case !again && (!s.hasTurn(t) || !s.hasRoom(need)):
			wait, err = s.waitForRoom(t, need)
			lined = true
		case !paced:
			wait = s.worker.pace.pause(s.o.Clock(), used, t.files())
			paced = true
		}
		if err == nil && wait < leastPause {
			s.promise(t, need)
		}
		changed := s.changed
		s.mu.Unlock()
		if err != nil || wait < leastPause {
			return err
		}
		if used < 1 {
			changed = nil // others that are published do not shorten a pause
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, ctx.Err()) {
				return cause
			}
			return ctx.Err()
		}
		timer.Stop()
	}
}

// pause returns how long a transaction has to wait, and reserves its time.
func (p *pace) pause(now time.Time, used float64, files int) time.Duration {
	if used < paceFrom || p.rate == 0 {
		return 0
	}
	// 2 at half of the backlog, 1 at three quarters, 1/2 at the end.
	factor := 2 - 4*(used-paceFrom)
	if factor < 1 {
		factor = 1 - 2*(used-0.75)
	}
	latest := now.Add(maxPause)
	if p.next.Before(now) {
		p.next = now
	}
	if p.next.After(latest) {
		p.next = latest
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(files) / (p.rate * factor) * float64(time.Second)))
	return wait
}

// measure notes how long a flush took.
func (p *pace) measure(files int, took time.Duration) {
	if files < measuredFrom || took <= 0 {
		return
	}
	rate := float64(files) / took.Seconds()
	if p.rate == 0 {
		p.rate = rate
	}
	p.rate += (rate - p.rate) / 4
}

// used returns which part of the backlog is used up; from 1 on writers have to
// wait. What a flush that is under way has done already counts as flushed.
// Storage.mu must be held.
func (w *worker) used(s *Storage) float64 {
	j := s.settings.Journal
	batches := float64(j.Backlog + 1)
	left := 1.0
	if total := w.progress.total.Load(); total > 0 {
		left = 1 - min(1, float64(w.progress.done.Load())/float64(total))
	}
	part := func(all, flushing, limit float64) float64 { return (all - flushing*(1-left)) / (batches * limit) }
	f := &w.pace.flushing
	return max(
		part(float64(len(s.unflushed.queue)), float64(f.transactions), float64(j.FlushTransactionThreshold)),
		part(float64(s.unflushed.files), float64(f.files), float64(j.FlushFileThreshold)),
		part(float64(s.unflushed.bytes), float64(f.bytes), flushBytes),
		s.memoryUsed())
}

// memoryUsed is the part of used that is about memory. That is held until the end of a
// flush, so its progress does not count. mu must be held.
func (s *Storage) memoryUsed() float64 {
	return float64(s.unflushed.memory) / (float64(s.settings.Journal.Backlog+1) * float64(s.o.LogMemory))
}

// waitForMemory makes a copy of a transaction wait before its records come, while the memory
// for what is unflushed is used up. Whoever copies brings one transaction after the other,
// so what it held would only add to that. An error of the flush is for the vote.
func (s *Storage) waitForMemory(ctx context.Context) error {
	return s.waitUntil(ctx, func() (bool, error) {
		return s.memoryUsed() < 1 || s.worker.trouble.cause != nil || s.writable() != nil, nil
	})
}

// begun notes the batch that is flushed now; none when it is done. Storage.mu must be held.
func (w *worker) begun(batch []*committed) {
	w.progress.done.Store(0)
	w.progress.total.Store(0)
	f := &w.pace.flushing
	f.transactions, f.files, f.bytes = len(batch), 0, 0
	for _, c := range batch {
		f.files += c.files()
		f.bytes += c.bytes
	}
}

package state

import (
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
	// leastPause is shorter than a timer can measure; such a pause is added to the next
	// one.
	leastPause = 200 * time.Microsecond
	// gateCheck is how often a closed gate looks for the progress of the flush.
	gateCheck = 5 * time.Millisecond
	// measuredFrom is how many files a flush must have to tell how fast flushes are.
	measuredFrom = 200
)

// pace is how fast writers may go.
type pace struct {
	rate float64   // files a second that the flush makes; 0 = not known
	next time.Time // when the next transaction may go on
	// flushing is the batch that is under way.
	flushing struct {
		transactions, files int
		bytes               int64
	}
}

// Admission describes a transaction that asks [State.Admit] to be let in.
type Admission struct {
	Need       Footprint // of its files
	Work       int       // of its flush, about; see store.Cost
	Memory     int64     // that it takes once it is committed, see [Memory]
	HoldsLocks bool      // of objects, for which others may wait
	Paced      bool      // it has waited for its pace
	Looked     bool      // the caller has just looked for room
}

// Verdict tells a transaction its next step. It was let in if Wait is 0 and nothing else is
// set.
type Verdict struct {
	Look    bool            // look for room, and ask again with Looked
	Wait    time.Duration   // ask again then,
	Changed <-chan struct{} // or, if not nil, when this is closed
	Paced   bool            // it waits for its pace, and need not do so again
	Lined   bool            // it is in the line: [State.LeaveLine] has to be called
}

// Admit lets a transaction in and promises it the room that it needs, or returns the reason to
// wait. again says that the claim covered it at the first call. Errors: those of Writable;
// zodb.ErrDiskFull or zodb.ErrScarce, where waiting would be for ever.
func (s *State) Admit(c *Claim, a Admission, again bool) (v Verdict, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.Looked && s.hasTurn(c, a) && s.roomIsOld(c, a.Need) {
		return Verdict{Look: true}, nil
	}
	if !again { // of an earlier vote
		s.release(c, a.Memory)
	}
	err = s.writable()
	used := s.used()
	obstacle := obstacleNone
	if !again {
		obstacle = s.obstacle(c, a)
	}
	switch {
	case err != nil:
	case s.refuse:
		err = errReserved()
	case used >= 1 && s.trouble.cause != nil:
		err = vfs.WithPassing(fmt.Errorf("transactions wait to be flushed: %w", s.trouble.cause))
	case used >= 1:
		v.Wait = gateCheck
	case !s.index.after(s.crowd) && s.trouble.cause == nil:
		v.Wait = gateCheck
	case obstacle != obstacleNone:
		v.Wait, err = s.waitInLine(c, a, obstacle)
		v.Lined = true
	case !a.Paced:
		v.Wait = s.pace.pause(s.o.Clock(), used, a.Work)
		v.Paced = true
	}
	if err != nil {
		return v, err
	}
	if v.Wait < leastPause {
		v.Wait = 0
		s.promise(c, a)
	}
	if used >= 1 { // else others that are published would shorten a pause
		v.Changed = s.changed
	}
	return v, nil
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
// wait. The finished part of a running flush counts as flushed.
// mu must be held.
func (s *State) used() float64 {
	j := s.o.Journal
	batches := float64(j.Backlog + 1)
	left := s.Progress.Left()
	part := func(all, flushing, limit float64) float64 { return (all - flushing*(1-left)) / (batches * limit) }
	f := &s.pace.flushing
	return max(
		part(float64(len(s.index.queue)), float64(f.transactions), float64(j.FlushTransactionThreshold)),
		part(float64(s.index.files), float64(f.files), float64(j.FlushFileThreshold)),
		part(float64(s.index.bytes), float64(f.bytes), flushBytes),
		s.memoryUsed())
}

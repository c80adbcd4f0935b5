package budget

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// maxPassed is how often a request that waits may be passed by smaller ones.
const maxPassed = 100

// Pool is an amount that holders share, beside the sure part of each.
type Pool struct {
	size int64

	mu    sync.Mutex
	used  int64     // guarded by mu: held by shares beyond their sure parts
	queue []*waiter // guarded by mu: in the order in which they came
}

// waiter is a Take that waits.
type waiter struct {
	s       *Share
	n       int64
	passed  int // how often a later request was served first
	granted chan struct{}
}

// NewPool returns a pool of an amount beside the sure parts.
func NewPool(size int64) *Pool { return &Pool{size: max(size, 0)} }

// Share returns a share of a new holder. It ends when everything was given back; there
// is nothing to close.
func (p *Pool) Share(sure int64) *Share { return &Share{p: p, sure: max(sure, 0)} }

// Free returns the amount that nobody holds.
func (p *Pool) Free() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.size-p.used, 0)
}

// Waiting returns how many wait.
func (p *Pool) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue)
}

// Starving reports whether one waits whose own holder has nothing, so that it waits for others
// alone.
func (p *Pool) Starving() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.queue, func(w *waiter) bool { return w.s.held == 0 })
}

// Overdrawn reports whether more was taken with Add than there is.
func (p *Pool) Overdrawn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used > p.size
}

// Share is the part of a pool that one holder has.
type Share struct {
	p    *Pool
	sure int64
	held int64 // guarded by p.mu
}

// TooLargeError is a request that no waiting would serve.
type TooLargeError struct{ Asked, Most int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d asked for, where one holder may have %d at most", e.Asked, e.Most)
}

// Most returns the largest amount that a holder can have at once.
func (s *Share) Most() int64 { return s.sure + s.p.size/2 }

// Held returns the amount that the holder has.
func (s *Share) Held() int64 {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.held
}

// Take takes n, and waits until n are free. Errors: that of ctx; *TooLargeError.
func (s *Share) Take(ctx context.Context, n int64) error {
	p := s.p
	p.mu.Lock()
	if s.fits(n) && !p.blocked(s, n) {
		s.grant(n)
		p.passOver(len(p.queue))
		p.mu.Unlock()
		return nil
	}
	if most := s.Most(); n > most {
		p.mu.Unlock()
		return &TooLargeError{Asked: n, Most: most}
	}
	w := &waiter{s: s, n: n, granted: make(chan struct{})}
	p.queue = append(p.queue, w)
	p.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.queue, w); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	} else {
		s.release(n) // it was granted at this moment
	}
	p.serve()
	return ctx.Err()
}

// Try takes n if n are free, without waiting.
func (s *Share) Try(n int64) bool {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.fits(n) || p.blocked(s, n) {
		return false
	}
	s.grant(n)
	p.passOver(len(p.queue))
	return true
}

// MostInTurn returns the largest amount that a holder can have at once by TryInTurn.
func (s *Share) MostInTurn() int64 { return s.sure + s.p.size - s.p.size/8 }

// TryInTurn takes n unless less than an eighth of the pool were left then: for one holder at
// a time, whose turn the caller says it is.
func (s *Share) TryInTurn(n int64) bool {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if more := s.beyond(n) - s.beyond(0); more > p.size-p.size/8-p.used {
		return false
	}
	s.grant(n)
	return true
}

// Add takes n, free or not: for amounts that cannot be refused. Others wait longer then.
func (s *Share) Add(n int64) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.grant(n)
}

// Shared returns the amount held beyond the sure part, which others may wait for.
func (s *Share) Shared() int64 {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.beyond(0)
}

// Crowded reports whether it holds more than it would be given now.
func (s *Share) Crowded() bool {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.beyond(0) > max(s.p.size-s.p.used, 0)
}

// Overdrawn is that of its pool.
func (s *Share) Overdrawn() bool { return s.p.Overdrawn() }

// Give gives n back.
func (s *Share) Give(n int64) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.release(n)
	s.p.serve()
}

// beyond is the amount beyond the sure part if n more are taken. p.mu must be held.
func (s *Share) beyond(n int64) int64 { return max(s.held+n-s.sure, 0) }

// fits reports whether n more may be granted. A holder of nothing gets a little, even of the last:
// half of one file is none. p.mu must be held.
func (s *Share) fits(n int64) bool {
	more, free := s.beyond(n)-s.beyond(0), s.p.size-s.p.used
	if s.beyond(0) == 0 && more <= max(s.p.size/64, 1) {
		return more == 0 || more <= free
	}
	return more == 0 || s.beyond(n) <= free-more
}

// grant takes n. p.mu must be held.
func (s *Share) grant(n int64) {
	s.p.used += s.beyond(n) - s.beyond(0)
	s.held += n
}

// release gives n back. p.mu must be held.
func (s *Share) release(n int64) {
	if n > s.held {
		panic(fmt.Sprintf("budget: %d given back by a holder of %d", n, s.held))
	}
	before := s.beyond(0)
	s.held -= n
	s.p.used -= before - s.beyond(0)
}

// blocked reports whether somebody was passed often enough, so that s has to wait too.
// The sure part of a share never waits. p.mu must be held.
func (p *Pool) blocked(s *Share, n int64) bool {
	return s.beyond(n) > 0 && slices.ContainsFunc(p.queue, func(w *waiter) bool { return w.stubborn() && w.s != s })
}

// stubborn is a waiter that is not passed any more. One whose own holder stands in its
// way is passed for ever. p.mu must be held.
func (w *waiter) stubborn() bool { return w.passed >= maxPassed && w.s.beyond(0) == 0 }

// passOver notes that the first n in the queue were passed. p.mu must be held.
func (p *Pool) passOver(n int) {
	for _, w := range p.queue[:n] {
		w.passed++
	}
}

// serve grants to waiters from the amount that is free now. p.mu must be held.
func (p *Pool) serve() {
	for i := 0; i < len(p.queue); {
		w := p.queue[i]
		if w.s.fits(w.n) {
			w.s.grant(w.n)
			p.passOver(i)
			p.queue = slices.Delete(p.queue, i, i+1)
			close(w.granted)
			continue
		}
		if w.stubborn() {
			return
		}
		i++
	}
}

package ops

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrStuck is matched by the error of a check that did not end in time.
var ErrStuck = errors.New("no answer")

// ErrClosed is matched by the error of a probe that was closed.
var ErrClosed = errors.New("probe closed")

// defaultTimeout is how long a check may take.
const defaultTimeout = 10 * time.Second

// Probe asks one check for many. A check that hangs, also one that does not
// look at its context, costs one goroutine, and fails the probe until it is back.
type Probe struct {
	once flight[error]
}

// NewProbe returns a probe of check, which fails if that takes longer than
// timeout; 0 = 10 seconds.
func NewProbe(check func(context.Context) error, timeout time.Duration) *Probe {
	return &Probe{once: flight[error]{work: check, timeout: timeout}}
}

// Ask returns the result of the check, together with all callers that ask meanwhile.
// The error matches ErrStuck if it did not end in time.
func (p *Probe) Ask(ctx context.Context) error {
	found, err := p.once.do(ctx)
	return errors.Join(found, err)
}

// flight does one piece of work for all callers that ask while it is done.
type flight[T any] struct {
	work    func(context.Context) T
	timeout time.Duration // 0 = DefaultTimeout

	mu     sync.Mutex
	now    *run[T] // guarded by mu; nil if nothing is under way
	closed bool    // guarded by mu
}

// run is work under way.
type run[T any] struct {
	ctx    context.Context // ends when the time is up
	cancel context.CancelFunc
	done   chan struct{} // closed when result is there
	result T
}

func (f *flight[T]) do(ctx context.Context) (result T, err error) {
	limit := f.timeout
	if limit == 0 {
		limit = defaultTimeout
	}
	r := f.join(limit)
	if r == nil {
		return result, ErrClosed
	}
	select {
	case <-r.done:
		return r.result, nil
	case <-ctx.Done():
		return result, ctx.Err()
	case <-r.ctx.Done():
	}
	select {
	case <-r.done: // it is that which ended the context, or both came at once
		return r.result, nil
	default:
	}
	if errors.Is(r.ctx.Err(), context.Canceled) {
		return result, ErrClosed
	}
	return result, fmt.Errorf("%w in %s", ErrStuck, limit)
}

func (f *flight[T]) close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	r := f.now
	f.mu.Unlock()
	if r == nil {
		return nil
	}
	r.cancel()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join returns the run under way, or begins one; nil if it was closed.
func (f *flight[T]) join(limit time.Duration) *run[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	if f.now != nil {
		return f.now
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	r := &run[T]{ctx: ctx, cancel: cancel, done: make(chan struct{})}
	f.now = r
	go func() {
		defer cancel()
		r.result = f.work(ctx)
		// A caller that has the result, and asks again, does not get it a second time.
		f.mu.Lock()
		f.now = nil
		f.mu.Unlock()
		close(r.done)
	}()
	return r
}

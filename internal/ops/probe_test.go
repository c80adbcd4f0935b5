package ops_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dirstorage/dirstorage/internal/ops"
)

func TestProbeGivesUpAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := ops.NewProbe(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 3*time.Second)
		begun := time.Now()
		if err := p.Ask(t.Context()); err == nil {
			t.Error("a check that does not end is good")
		}
		if d := time.Since(begun); d != 3*time.Second {
			t.Errorf("waited %s", d)
		}
	})
}

// TestWhoAsksAgainIsToldAnew: nobody is given the same answer twice.
func TestWhoAsksAgainIsToldAnew(t *testing.T) {
	t.Parallel()
	var checks atomic.Int64
	p := ops.NewProbe(func(context.Context) error { return answerOf(checks.Add(1)) }, time.Minute)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			last := answerOf(0)
			for range 5000 {
				var got answerOf
				if err := p.Ask(t.Context()); !errors.As(err, &got) || got <= last {
					t.Errorf("asked again after answer %d: %v", last, err)
					return
				}
				last = got
			}
		})
	}
	wait.Wait()
}

// answerOf is the number of the check that an answer is of.
type answerOf int64

func (n answerOf) Error() string { return fmt.Sprint(int64(n)) }

// TestCheckThatHangsIsNotStartedAgain: a process that is stuck must not be buried under
// the goroutines of those who ask whether it is.
func TestCheckThatHangsIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		hang := make(chan struct{})
		p := ops.NewProbe(func(context.Context) error { calls.Add(1); <-hang; return nil }, time.Second)
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() {
				if err := p.Ask(t.Context()); !errors.Is(err, ops.ErrStuck) {
					t.Errorf("while it hangs: %v", err)
				}
			})
		}
		wait.Wait()
		begun := time.Now()
		if err := p.Ask(t.Context()); !errors.Is(err, ops.ErrStuck) || time.Since(begun) != 0 {
			t.Errorf("asked later: %v after %s, want the answer at once", err, time.Since(begun))
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("the check was called %d times", n)
		}
		close(hang)
		synctest.Wait()
		if err := p.Ask(t.Context()); err != nil {
			t.Errorf("after it came back: %v", err)
		}
	})
}

func TestProbeEndsWithWhoAsks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := ops.NewProbe(func(ctx context.Context) error { <-ctx.Done(); return nil }, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := p.Ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.Ask(t.Context()); !errors.Is(err, ops.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}

func TestProbeSaysWhatTheCheckFinds(t *testing.T) {
	t.Parallel()
	found := errors.New("found")
	p := ops.NewProbe(func(context.Context) error { return found }, 0)
	if err := p.Ask(t.Context()); !errors.Is(err, found) || errors.Is(err, ops.ErrStuck) {
		t.Error(err)
	}
}

func TestCloseDoesNotWaitForeverForACheckThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		p := ops.NewProbe(func(context.Context) error { <-hang; return nil }, time.Hour)
		asked := make(chan error)
		go func() { asked <- p.Ask(context.Background()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := <-asked; !errors.Is(err, ops.ErrClosed) {
			t.Errorf("who had asked is told %v", err)
		}
		close(hang)
	})
}

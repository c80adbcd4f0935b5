package stage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/stage"
)

// work is that of a test; unguarded, so that the race detector sees two owners.
type work struct{ steps []string }

type txn = stage.Stage[*work, string]

// bring returns a transaction in a state.
func bring(t *testing.T, to stage.State) *txn {
	t.Helper()
	s := stage.New[*work, string](&work{})
	if to == stage.Begun {
		return s
	}
	v, _ := s.StartVote()
	switch to {
	case stage.Voting:
		return s
	case stage.Ended:
		v.End()
	default:
		next := to
		if to == stage.Finishing {
			next = stage.Voted
		}
		if _, done, err := v.Settle(next); !done || err != nil {
			t.Fatalf("settle %s: %v, %v", next, done, err)
		}
	}
	v.Leave()
	if to == stage.Finishing {
		s.StartFinish()
	}
	if got := s.State(); got != to {
		t.Fatalf("it is %s, want %s", got, to)
	}
	return s
}

// TestTransitions tries each method in each state: the permission, and the state after it.
func TestTransitions(t *testing.T) {
	t.Parallel()
	const (
		begun, voting, resolving = stage.Begun, stage.Voting, stage.Resolving
		voted, finishing, ended  = stage.Voted, stage.Finishing, stage.Ended
	)
	all := []stage.State{begun, voting, resolving, voted, finishing, ended}
	same := func(s stage.State) stage.State { return s }
	to := func(s stage.State) func(stage.State) stage.State { return func(stage.State) stage.State { return s } }
	for _, tt := range []struct {
		name  string
		do    func(s *txn) bool
		in    []stage.State // where it is allowed
		after func(stage.State) stage.State
	}{
		{"Use", func(s *txn) (ran bool) { s.Use(func(*work) { ran = true }); return ran }, []stage.State{begun, resolving}, same},
		{"UseIdle", func(s *txn) (ran bool) { return s.UseIdle(func(*work) { ran = true }) && ran }, []stage.State{begun}, same},
		{"Join", func(s *txn) (ran bool) { return s.Join("x", func() { ran = true }) == voting && ran }, []stage.State{voting}, same},
		{"GiveUp", func(s *txn) bool { return s.GiveUp() }, []stage.State{voting}, same},
		{"Take", func(s *txn) bool { w, ok := s.Take(); return ok && w != nil }, []stage.State{begun, resolving, voted}, to(ended)},
		{"StartVote", func(s *txn) bool { v, _ := s.StartVote(); return v != nil && v.Work() != nil }, []stage.State{begun, resolving}, to(voting)},
		{"StartFinish", func(s *txn) bool { f, ok := s.StartFinish(); return ok && f.Work() != nil }, []stage.State{voted}, to(finishing)},
	} {
		for _, from := range all {
			s := bring(t, from)
			want, after := slices.Contains(tt.in, from), from
			if want {
				after = tt.after(from)
			}
			if got := tt.do(s); got != want || s.State() != after {
				t.Errorf("%s while it is %s: %v, then %s; want %v, then %s", tt.name, from, got, s.State(), want, after)
			}
		}
	}
}

// TestWhatComesWhileAVoteGoesOn interrupts its attempt, and is there for the next one.
func TestWhatComesWhileAVoteGoesOn(t *testing.T) {
	t.Parallel()
	s := bring(t, stage.Begun)
	v, _ := s.StartVote()
	s.Join("a", func() {})
	ctx, late, err := v.Attempt(t.Context())
	if err != nil || !slices.Equal(late, []string{"a"}) || ctx.Err() != nil {
		t.Fatalf("the first attempt has %v, %v, %v", late, err, ctx.Err())
	}
	s.Join("b", func() {})
	<-ctx.Done()
	if cause := v.Attempted(ctx); cause != stage.ErrLate {
		t.Fatalf("interrupted by %v", cause)
	}
	if ctx, late, err = v.Attempt(t.Context()); err != nil || !slices.Equal(late, []string{"b"}) {
		t.Fatalf("the second attempt has %v, %v", late, err)
	}
	if cause := v.Attempted(ctx); cause != nil || ctx.Err() == nil {
		t.Fatalf("an attempt that was not interrupted: %v, %v", cause, ctx.Err())
	}
	s.Join("c", func() {})
	if late, done, err := v.Settle(stage.Resolving); done || err != nil || !slices.Equal(late, []string{"c"}) {
		t.Fatalf("settled before what came was done: %v, %v, %v", late, done, err)
	}
	if late, done, err := v.Settle(stage.Resolving); !done || err != nil || len(late) > 0 {
		t.Fatalf("not settled: %v, %v, %v", late, done, err)
	}
	v.Leave()
	v, from := s.StartVote()
	if from != stage.Resolving {
		t.Fatalf("the second vote began when it was %s", from)
	}
	s.Join("d", func() {})
	if late, done, err := v.Settle(stage.Voted); !done || err != nil || !slices.Equal(late, []string{"d"}) {
		t.Fatalf("what came last: %v, %v, %v", late, done, err)
	}
}

// TestGiveUp ends the attempt of a vote, or the next one, or keeps it from being settled.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before", "during", "after"} {
		s := bring(t, stage.Begun)
		v, _ := s.StartVote()
		if when == "before" {
			s.GiveUp()
		}
		ctx, _, err := v.Attempt(t.Context())
		if (err == stage.ErrAborted) != (when == "before") {
			t.Errorf("%s: the attempt begins with %v", when, err)
		}
		if when == "during" {
			s.GiveUp()
			<-ctx.Done()
		}
		if cause := v.Attempted(ctx); (cause == stage.ErrAborted) != (when != "after") {
			t.Errorf("%s: the attempt ends with %v", when, cause)
		}
		if when == "after" {
			s.GiveUp()
		}
		if _, done, err := v.Settle(stage.Voted); done || err != stage.ErrAborted {
			t.Errorf("%s: settled: %v, %v", when, done, err)
		}
		v.End()
		v.Leave()
		s.Wait()
		if _, ok := s.Take(); ok {
			t.Errorf("%s: its work can be taken a second time", when)
		}
	}
}

// TestEndOfTheParentEndsAnAttempt: that of the connection.
func TestEndOfTheParentEndsAnAttempt(t *testing.T) {
	t.Parallel()
	v, _ := bring(t, stage.Begun).StartVote()
	ctx, cancel := context.WithCancelCause(t.Context())
	attempt, _, _ := v.Attempt(ctx)
	gone := errors.New("gone")
	cancel(gone)
	<-attempt.Done()
	if cause := v.Attempted(attempt); cause != gone {
		t.Errorf("interrupted by %v", cause)
	}
}

// TestFormerOwnersHaveNothing: a former owner that asks for the work panics.
func TestFormerOwnersHaveNothing(t *testing.T) {
	t.Parallel()
	s := bring(t, stage.Begun)
	v, _ := s.StartVote()
	v.Settle(stage.Voted)
	f, _ := s.StartFinish()
	panics := func(name string, get func() *work) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s has the work", name)
			}
		}()
		get()
	}
	panics("a vote that has settled", v.Work)
	v.Leave() // late, when the finish goes on already
	f.End()
	panics("a finish that has ended", f.Work)
	f.Leave()
	s.Wait()
}

// TestLeavingLate: the next vote goes on already when the one before it leaves.
func TestLeavingLate(t *testing.T) {
	t.Parallel()
	s := bring(t, stage.Begun)
	v, _ := s.StartVote()
	v.Settle(stage.Resolving)
	next, _ := s.StartVote()
	v.Leave()
	if got := s.State(); got != stage.Voting {
		t.Fatalf("it is %s while the second vote goes on", got)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the first vote has the work of the second one")
			}
		}()
		v.Work()
	}()
	next.Work()
	if _, done, err := next.Settle(stage.Voted); !done || err != nil {
		t.Errorf("the second vote: %v, %v", done, err)
	}
	next.Leave()
}

// TestPanicLeavesTheWorkToWhoAborts: the connection ends, and has to abort it.
func TestPanicLeavesTheWorkToWhoAborts(t *testing.T) {
	t.Parallel()
	for _, state := range []stage.State{stage.Voting, stage.Finishing} {
		s := bring(t, stage.Begun)
		v, _ := s.StartVote()
		if state == stage.Finishing {
			v.Settle(stage.Voted)
			v.Leave()
			f, _ := s.StartFinish()
			f.Leave()
		} else {
			v.Leave()
		}
		s.Wait()
		if w, ok := s.Take(); !ok || w == nil {
			t.Errorf("nobody can abort what a panic left while it was %s", state)
		}
	}
}

// TestUseIdleLeavesAloneWhatIsUsed: it does not wait for the user of the work.
func TestUseIdleLeavesAloneWhatIsUsed(t *testing.T) {
	t.Parallel()
	s := bring(t, stage.Begun)
	s.Use(func(*work) {
		if s.UseIdle(func(*work) {}) {
			t.Error("two have the work")
		}
	})
}

// TestOneHasTheWork has a client, its votes and finishes, and an ender of idle transactions,
// go on at once; the race detector sees if two of them have the work.
func TestOneHasTheWork(t *testing.T) {
	t.Parallel()
	for round := range 200 {
		s := bring(t, stage.Begun)
		var wait sync.WaitGroup
		add := func(name string) func(*work) {
			return func(w *work) { w.steps = append(w.steps, name) }
		}
		wait.Go(func() {
			for range 20 {
				s.UseIdle(add("idle"))
			}
		})
		taken := 0
		for i := range 10 {
			step := fmt.Sprint(i)
			if s.Use(add(step)).Open() {
				taken++
			} else if s.Join(step, func() {}) == stage.Voting {
				taken++
			}
			v, _ := s.StartVote()
			if v == nil {
				continue
			}
			wait.Go(func() {
				defer v.Leave()
				ctx, late, _ := v.Attempt(t.Context())
				v.Work().steps = append(v.Work().steps, late...)
				v.Attempted(ctx)
				for {
					late, done, _ := v.Settle(stage.Resolving)
					if done {
						return
					}
					v.Work().steps = append(v.Work().steps, late...)
				}
			})
		}
		s.Wait()
		wait.Wait()
		w, ok := s.Take()
		if !ok {
			t.Fatalf("round %d: it is %s in the end", round, s.State())
		}
		got := 0
		for _, step := range w.steps {
			if step != "idle" {
				got++
			}
		}
		if got != taken {
			t.Fatalf("round %d: %d steps were taken, and %d are there", round, taken, got)
		}
	}
}

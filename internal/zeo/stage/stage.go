// Package stage gives the work of a transaction to one goroutine at a time.
//
// While the client sends its steps, [Stage.Use] lends the work out, to one after the other. A
// [Vote] has it from StartVote until it settles or ends, a [Finish] from StartFinish on, and an
// abort from [Stage.Take] on. Nothing else leads to it.
//
//	Begun ── StartVote ──▶ Voting ── Settle ──▶ Voted ── StartFinish ──▶ Finishing ── End ──▶ Ended
//	                        ▲  └──── Settle ──▶ Resolving
//	                        └──── StartVote ───────┘
//
// A vote that fails goes to Ended; Take leads there from Begun, Resolving and Voted. A step
// that comes while a vote goes on joins it: the attempt is interrupted, and the next one has
// the step.
package stage

import (
	"context"
	"errors"
	"sync"
)

// State is where a transaction is.
type State uint8

const (
	Begun     State = iota // the client sends its steps
	Voting                 // a vote goes on
	Resolving              // a vote met conflicts, and the client sends how they are resolved; it has locks
	Voted                  // it can be finished
	Finishing              // its finish goes on
	Ended                  // it was finished or aborted: nobody has its work any more
)

func (s State) String() string {
	return [...]string{"begun", "voting", "resolving", "voted", "finishing", "ended"}[s]
}

// Open reports whether it takes steps of the client.
func (s State) Open() bool { return s == Begun || s == Resolving }

// Why the attempt of a vote was interrupted.
var (
	ErrLate    = errors.New("another operation came while the vote waited")
	ErrAborted = errors.New("the transaction was aborted")
)

// Stage is the state of one transaction, and its work, W. S is a step that a client sends for
// it. All methods may be called concurrently.
type Stage[W, S any] struct {
	use sync.Mutex // held by the user of the work while it takes steps; taken before mu

	mu        sync.Mutex
	state     State                   // guarded by mu
	work      W                       // of its owner
	late      []S                     // guarded by mu: joined the vote
	interrupt context.CancelCauseFunc // guarded by mu: of the attempt that goes on; nil: none does
	gaveUp    bool                    // guarded by mu: the client has aborted it while its vote went on
	done      chan struct{}           // guarded by mu: that of the last vote or finish, closed when it has left
}

// New returns that of a transaction that begins.
func New[W, S any](work W) *Stage[W, S] { return &Stage[W, S]{work: work} }

// State returns its state at this moment.
func (s *Stage[W, S]) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Use runs f with the work if it takes steps, and returns the state in which it was. It waits for
// another f that runs. f must not keep the work.
func (s *Stage[W, S]) Use(f func(W)) State {
	s.use.Lock()
	defer s.use.Unlock()
	state := s.State()
	if state.Open() {
		f(s.work)
	}
	return state
}

// UseIdle is Use for a transaction that is Begun and that nobody uses at this moment. It reports
// whether f was run, and does not wait.
func (s *Stage[W, S]) UseIdle(f func(W)) bool {
	if !s.use.TryLock() {
		return false
	}
	defer s.use.Unlock()
	if s.State() != Begun {
		return false
	}
	f(s.work)
	return true
}

// Join gives a step to the vote that goes on. It returns the state; only if that is Voting the
// step was taken. admit is called before that, and must not block.
func (s *Stage[W, S]) Join(st S, admit func()) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == Voting {
		admit()
		s.late = append(s.late, st)
		if s.interrupt != nil {
			s.interrupt(ErrLate)
		}
	}
	return s.state
}

// GiveUp makes a vote that goes on end with ErrAborted. It reports whether one does.
func (s *Stage[W, S]) GiveUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Voting {
		return false
	}
	s.gaveUp = true
	if s.interrupt != nil {
		s.interrupt(ErrAborted)
	}
	return true
}

// Wait waits until no vote and no finish goes on.
func (s *Stage[W, S]) Wait() {
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	if done != nil {
		<-done
	}
}

// Take ends a transaction of which no vote or finish goes on, and gives its work to the caller,
// which aborts it. false: a vote or finish goes on, or it has ended already.
func (s *Stage[W, S]) Take() (work W, ok bool) {
	s.use.Lock()
	defer s.use.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.Open() && s.state != Voted {
		return work, false
	}
	s.state = Ended
	return s.work, true
}

// StartVote gives the work to a vote if it takes steps. It returns the state in which it was.
func (s *Stage[W, S]) StartVote() (*Vote[W, S], State) {
	s.use.Lock()
	defer s.use.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.state
	if !state.Open() {
		return nil, state
	}
	s.state, s.done = Voting, make(chan struct{})
	return &Vote[W, S]{owner[W, S]{s, s.done}}, state
}

// StartFinish gives the work to a finish if it was voted for.
func (s *Stage[W, S]) StartFinish() (*Finish[W, S], bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Voted {
		return nil, false
	}
	s.state, s.done = Finishing, make(chan struct{})
	return &Finish[W, S]{owner[W, S]{s, s.done}}, true
}

// owner has the work alone while the state is one of its own. One goroutine uses it.
type owner[W, S any] struct {
	s    *Stage[W, S]
	done chan struct{} // closed when it leaves; another owner may be there already
}

// lock locks mu for the owner of the work, and panics for a former owner.
func (o owner[W, S]) lock() {
	o.s.mu.Lock()
	if o.s.done != o.done || o.s.state != Voting && o.s.state != Finishing {
		state := o.s.state
		o.s.mu.Unlock()
		panic("a transaction is used by a goroutine that gave it away: it is " + state.String())
	}
}

// Work returns the work, until that is given back.
func (o owner[W, S]) Work() W {
	o.lock()
	defer o.s.mu.Unlock()
	return o.s.work
}

// Leave is the last call. The waiters go on. Work that a panic has left can be taken.
func (o owner[W, S]) Leave() {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == o.done && (s.state == Voting || s.state == Finishing) {
		s.state = Begun
	}
	close(o.done)
}

// end ends the transaction, and returns the unused steps that joined.
func (o owner[W, S]) end() []S {
	s := o.s
	o.lock()
	defer s.mu.Unlock()
	late := s.late
	s.state, s.late = Ended, nil
	return late
}

// Vote is a vote that goes on, which has the work until it settles or ends. One goroutine uses it.
type Vote[W, S any] struct{ owner[W, S] }

// Attempt begins an attempt: ctx ends when something joins, or the client gives up. late
// holds the steps that joined since the last attempt. ErrAborted: the client has given up.
func (v *Vote[W, S]) Attempt(parent context.Context) (ctx context.Context, late []S, err error) {
	ctx, cancel := context.WithCancelCause(parent)
	s := v.s
	v.lock()
	defer s.mu.Unlock()
	late, s.late = s.late, nil
	if s.gaveUp {
		cancel(ErrAborted)
		return ctx, late, ErrAborted
	}
	s.interrupt = cancel
	return ctx, late, nil
}

// Attempted ends the attempt, and returns why it was interrupted: nil, ErrLate, ErrAborted, or
// the cause of parent.
func (v *Vote[W, S]) Attempted(ctx context.Context) error {
	cause := context.Cause(ctx)
	s := v.s
	v.lock()
	defer s.mu.Unlock()
	if s.interrupt != nil {
		s.interrupt(nil)
		s.interrupt = nil
	}
	return cause
}

// Settle ends the vote with Voted or Resolving: the work goes back. ErrAborted: the client has
// given up, and the vote has to End. Before it is Resolving, the steps that joined have to be
// done: then they are returned, done is false, and Settle is called again. Steps that joined
// before it is Voted are returned, too, and not used any more.
func (v *Vote[W, S]) Settle(to State) (late []S, done bool, err error) {
	s := v.s
	v.lock()
	defer s.mu.Unlock()
	late, s.late = s.late, nil
	switch {
	case s.gaveUp:
		return late, false, ErrAborted
	case to == Resolving && len(late) > 0:
		return late, false, nil
	}
	s.state = to
	return late, true, nil
}

// End ends the transaction, because the vote failed: the work is the caller's until its own end.
// It returns the unused steps that joined.
func (v *Vote[W, S]) End() []S { return v.end() }

// Finish is a finish that goes on, which has the work until it ends. One goroutine uses it.
type Finish[W, S any] struct{ owner[W, S] }

// End ends the transaction.
func (f *Finish[W, S]) End() { f.end() }

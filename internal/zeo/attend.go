package zeo

import (
	"errors"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// A vote and a finish are worked off beside the reader of their connection, because they may take
// long. Mostly they do not, and their client waits for the answer. Then most of their time is for the
// waking of goroutines and processors. So the reader attends to them itself, and asks for a while
// for the next request before it sleeps; as long as that request comes so fast, nothing else comes
// meanwhile, and no other connection commits or loads. If it takes longer than attendTime, another
// goroutine reads on in its place.

const (
	// attendTime is how long a reader attends to something until another one reads, at least; twice
	// that at most.
	attendTime = time.Millisecond
	// attendRest is after how many of attendTime nobody looks any more, if nothing is attended to.
	attendRest = 20
	// defaultAskAgain is how often a connection is asked for the next request before its reader
	// sleeps: for longer than a client takes that does nothing in between.
	defaultAskAgain = 192
	// defaultAskTime is in which time, about.
	defaultAskTime = 250 * time.Microsecond
	// attendFrom is from which vote or finish on, in a row of one connection, they are attended to.
	attendFrom = 4
	// leastRest and mostRest bound how many votes and finishes are not attended to after one with which
	// that was not right. It doubles each time, and gets less with each one that was right.
	leastRest, mostRest = 4, 1024
)

// errHandedOver ends a reader in whose place another one reads.
var errHandedOver = errors.New("another goroutine reads from the connection")

// attendance says which reader attends to something. One at a time does.
type attendance struct {
	mu      sync.Mutex
	who     *attending // guarded by mu; nil: none
	number  uint64     // guarded by mu: counts them
	watched bool       // guarded by mu: watch runs
}

// enter reports false if another one does.
func (a *attendance) enter(t *attending) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.who != nil {
		return false
	}
	a.who = t
	a.number++
	if !a.watched {
		a.watched = true
		go a.watch()
	}
	return true
}

// leave reports whether the caller is still the reader.
func (a *attendance) leave(t *attending) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.who != t {
		return false
	}
	a.who = nil
	return true
}

// watch looks until nothing has happened for a while.
func (a *attendance) watch() {
	ticker := time.NewTicker(attendTime)
	defer ticker.Stop()
	last, rest := uint64(0), 0
	for rest < attendRest {
		<-ticker.C
		last, rest = a.look(last, rest)
	}
}

// look has another goroutine read where a reader has attended to the same thing since the last look.
// That had number last, and was the rest-th at which nothing had happened.
func (a *attendance) look(last uint64, rest int) (number uint64, now int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.number != last {
		return a.number, 0
	}
	if t := a.who; t != nil {
		a.who = nil
		t.further()
		return last, 0
	}
	a.watched = rest+1 < attendRest
	return last, rest + 1
}

// attending is the part of a connection that is about this. It is the reader's.
type attending struct {
	in       *wire.Reader
	socket   *listen.Patience // nil: it attends to nothing
	further  func()           // starts the next reader
	answered bool             // something was attended to, and nothing is learned yet from the request after it
	streak   int              // votes and finishes since another connection had one
	rest     int              // how many are not attended to
	penalty  int              // that of the last time
	most     int              // the largest one
	loads    int64            // of the server, at the last vote or finish
}

// attend works off a vote or a finish, or has it worked off beside the reader.
func (c *conn) attend(f func() error) error {
	t, a := &c.attending, &c.srv.attendance
	if !c.attends() || !a.enter(t) {
		return c.beside(f)
	}
	err := c.shielded(func() error {
		err := f()
		if err == nil {
			err = c.out.flush()
		}
		return err
	})
	if !a.leave(t) {
		if err != nil {
			c.end(err)
		}
		return errHandedOver
	}
	t.answered = true
	t.socket.Next(c.srv.o.askAgain, c.srv.o.askTime)
	t.in.Once(t.socket)
	return err
}

// attends reports whether the reader may attend to the vote or finish that has come.
func (c *conn) attends() bool {
	t, s := &c.attending, c.srv
	if t.socket == nil || s.o.processors == 1 {
		return false
	}
	if s.o.attendAll {
		return true
	}
	if s.committer.Load() != c {
		s.committer.Store(c)
		t.streak = 0
	} else {
		t.streak++
	}
	t.learn()
	loads := s.loads()
	alone := loads == t.loads
	t.loads = loads
	if t.rest > 0 {
		t.rest--
		return false
	}
	return alone && t.streak >= attendFrom && c.values == 0 && !t.in.Buffered()
}

// loads returns how many there were.
func (s *Server) loads() (n int64) {
	for _, h := range s.order {
		n += h.stats.loads.Load()
	}
	return n
}

// learn learns from how the request came that followed an answer.
func (t *attending) learn() {
	if !t.answered {
		return
	}
	t.answered = false
	if t.socket.Came() <= 1 { // 1: before the answer. 0: too late
		t.wrong()
		return
	}
	t.penalty = max(t.penalty-1, 0)
}

// wrong has the next ones worked off beside the reader.
func (t *attending) wrong() {
	t.penalty = min(max(2*t.penalty, leastRest), t.most)
	t.rest = t.penalty
}

// readFurther starts the next reader.
func (c *conn) readFurther() {
	c.attending.wrong()
	c.wait.Go(func() {
		err := c.shielded(c.work)
		if !errors.Is(err, errHandedOver) {
			c.end(err)
			c.readers <- err
		}
	})
}

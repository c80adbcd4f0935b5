package zeo

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// attended returns how many votes and finishes readers have attended to.
func (s *Server) attended() uint64 {
	s.attendance.mu.Lock()
	defer s.attendance.mu.Unlock()
	return s.attendance.number
}

// TestTheReaderOfALoneCommitterAttends: and not those of two that commit by turns, nor one beside
// which others load, nor where there is one processor.
func TestTheReaderOfALoneCommitterAttends(t *testing.T) {
	t.Parallel()
	for _, processors := range []int{1, 2} {
		t.Run(fmt.Sprint(processors), func(t *testing.T) {
			t.Parallel()
			// A machine that is slow is no reason to look elsewhere for long.
			ts := serve(t, Options{processors: processors, askAgain: 1 << 30, askTime: 5 * time.Millisecond, mostRest: leastRest})
			c := ts.client(wire.Pickle)
			tid := zodb.TID(0)
			commits := func(n int) {
				t.Helper()
				for range n {
					tid = c.commit(1, tid, "x")
				}
			}
			if processors == 1 {
				if commits(20); ts.attended() != 0 {
					t.Error("it does where there is one processor")
				}
				return
			}
			eventually(t, "its reader attends", func() bool { commits(1); return ts.attended() > 0 })
			other, its := ts.client(wire.Msgpack), zodb.TID(0)
			its = other.commit(2, its, "y")
			before := ts.attended()
			for range 20 {
				commits(1)
				its = other.commit(2, its, "y")
			}
			if n := ts.attended() - before; n != 0 {
				t.Errorf("of two that commit by turns readers have attended to %d", n)
			}
			commits(1)
			before = ts.attended()
			for range 20 {
				other.call("loadBefore", zodb.OID(2), its+1)
				commits(1) // each vote follows a load
			}
			if n := ts.attended() - before; n > 20 {
				t.Errorf("beside loads of another one it has attended to %d of 40", n)
			}
			eventually(t, "it attends again", func() bool { commits(1); return ts.attended() > before+5 })
			eventually(t, "nobody looks where nothing is attended to", func() bool {
				ts.attendance.mu.Lock()
				defer ts.attendance.mu.Unlock()
				return !ts.attendance.watched
			})
			before = ts.attended()
			eventually(t, "it attends again", func() bool { commits(1); return ts.attended() > before })
			c.want("x", recordText(c, 1, tid))
		})
	}
}

// recordText returns the text of a record.
func recordText(c *rawClient, oid zodb.OID, tid zodb.TID) string {
	c.t.Helper()
	v := tuples(c.call("loadBefore", oid, tid+1)).(wire.Tuple)
	for _, s := range []string{"x", "y", "z"} {
		if string(v[0].([]byte)) == string(record(s)) {
			return s
		}
	}
	return ""
}

// TestAnotherGoroutineReadsWhereOneAttendsForLong: a vote that waits for the objects of another client
// lets its own client load, ask and abort; it can be finished; and the end of its connection ends it.
func TestAnotherGoroutineReadsWhereOneAttendsForLong(t *testing.T) {
	t.Parallel()
	const ttid = int64(7)
	for name, end := range map[string]func(ts *testServer, holder, c *rawClient, vote int64){
		"finish": func(ts *testServer, holder, c *rawClient, vote int64) {
			holder.call("tpc_abort", ttid)
			if v, err := c.wait(vote); err != nil {
				c.t.Fatal(v, err)
			}
			tid := zodb.TIDFromBytes(c.call("tpc_finish", ttid).([]byte))
			c.want("y", recordText(c, 1, tid))
			for range 10 { // a reader of those that came later attends as well
				tid = c.commit(1, tid, "z")
			}
			c.want("z", recordText(c, 1, tid))
		},
		"abort": func(ts *testServer, holder, c *rawClient, vote int64) {
			abort := c.request("tpc_abort", ttid)
			if v, err := c.wait(vote); err == nil {
				c.t.Fatal("it was voted for: ", v)
			}
			if v, err := c.wait(abort); err != nil {
				c.t.Fatal(v, err)
			}
			holder.call("tpc_abort", ttid)
		},
		"end": func(ts *testServer, holder, c *rawClient, vote int64) {
			c.conn.Close()
			eventually(c.t, "its connection has ended", func() bool { return ts.Connections() == 1 })
			holder.call("tpc_finish", ttid)
		},
		"shutdown": func(ts *testServer, holder, c *rawClient, vote int64) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := ts.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				c.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts := serve(t, Options{processors: 2, attendAll: true})
			holder := ts.client(wire.Pickle)
			c := ts.client(wire.Pickle)
			tid := c.commit(1, 0, "x")
			store := func(c *rawClient) {
				c.begin(ttid)
				c.oneWay("storea", zodb.OID(1), tid, record("y"), ttid)
			}
			store(holder)
			holder.call("vote", ttid)
			store(c)
			eventually(t, "the reader of the holder, which has answered, attends no more", func() bool {
				ts.attendance.mu.Lock()
				defer ts.attendance.mu.Unlock()
				return ts.attendance.who == nil
			})
			before := ts.attended()
			vote := c.request("vote", ttid)
			for range 3 {
				c.want("x", recordText(c, 1, tid))
				c.call("ping")
			}
			if ts.attended() != before+1 {
				t.Fatalf("the vote is one of %d that a reader attends to", ts.attended()-before)
			}
			end(ts, holder, c, vote)
		})
	}
}

// TestWhatComesMeanwhileOrLateIsAReasonNotToAttend: more and more of the next ones are not attended
// to, and fewer after each one that was right.
func TestWhatComesMeanwhileOrLateIsAReasonNotToAttend(t *testing.T) {
	t.Parallel()
	x := attending{most: mostRest}
	for _, want := range []int{4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024} {
		if x.wrong(); x.rest != want || x.penalty != want {
			t.Errorf("%d and %d, want %d", x.rest, x.penalty, want)
		}
	}
	if x.learn(); x.penalty != mostRest {
		t.Errorf("it has learned from nothing: %d", x.penalty)
	}
}

// TestALookGivesThoseThatTakeLongAnotherReader: at the second look, once; and it ends when nothing was
// begun for a while.
func TestALookGivesThoseThatTakeLongAnotherReader(t *testing.T) {
	t.Parallel()
	a, further := &attendance{watched: true}, 0
	x, y := &attending{further: func() { further++ }}, &attending{}
	if !a.enter(x) || a.enter(y) {
		t.Fatal("two attend")
	}
	if a.leave(y) {
		t.Fatal("one that does not attend leaves")
	}
	last, rest := a.look(0, 5)
	if further != 0 || last != 1 || rest != 0 {
		t.Fatalf("at the first look: %d readers, number %d, rest %d", further, last, rest)
	}
	if last, rest = a.look(last, rest); further != 1 || rest != 0 {
		t.Fatalf("at the second look: %d readers, rest %d", further, rest)
	}
	if a.leave(x) {
		t.Error("it is still the reader")
	}
	if !a.enter(y) || !a.leave(y) {
		t.Error("another one may attend now")
	}
	last, rest = a.look(last, rest)
	for n := 1; n <= attendRest; n++ {
		if last, rest = a.look(last, rest); rest != n || a.watched != (n < attendRest) || further != 1 {
			t.Fatalf("look %d: rest %d, watched %t, %d readers", n, rest, a.watched, further)
		}
	}
	if time.Duration(attendRest)*attendTime > time.Second {
		t.Error("somebody looks for long although nothing happens")
	}
}

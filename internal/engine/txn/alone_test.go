package txn

import (
	"testing"
	"time"
)

// TestWhoIsAloneCommitsItself: a request is the caller's to commit if nobody else is near: none waits,
// no commit is under way, there was nobody else at the last one, and no transaction goes first. All
// others are the committer's.
func TestWhoIsAloneCommitsItself(t *testing.T) {
	t.Parallel()
	var c commitQueue
	c.filled.L = &c.mu
	c.given.turn = make(chan struct{}, 1)
	request := func() *commitRequest { return &commitRequest{txn: &Txn{m: &Manager{}}} }
	put := func(why string, want bool) *commitRequest {
		t.Helper()
		q := request()
		alone, ok := c.put(q)
		if !ok || (len(alone) == 1 && alone[0] == q) != want || len(alone) > 1 {
			t.Fatalf("%s: %d are its own, %t", why, len(alone), ok)
		}
		return q
	}
	put("the first", true)
	put("while one is committed", false)
	put("behind it", false)
	c.worked(1, time.Millisecond)
	put("where others wait", false)
	if batch := c.take(); len(batch) != 3 {
		t.Fatalf("the committer takes %d", len(batch))
	}
	put("while the committer commits", false)
	if c.take() != nil {
		t.Fatal("two commits at a time")
	}
	c.worked(3, time.Millisecond)
	if batch := c.take(); len(batch) != 1 {
		t.Fatalf("the committer takes %d", len(batch))
	}
	c.coming.Store(1)
	c.worked(1, time.Millisecond)
	put("while another was near", false) // it is waited for
	c.take()
	c.coming.Store(0)
	c.worked(1, time.Millisecond)
	put("when that has gone", true)
	c.worked(1, time.Millisecond)

	first := &Txn{first: true, given: 7}
	c.given.turn <- struct{}{}
	c.given.txn = first
	put("where one goes first", false)
	if c.take() != nil {
		t.Fatal("it was overtaken")
	}
	c.notFirst(first)
	if batch := c.take(); len(batch) != 1 {
		t.Fatalf("the committer takes %d", len(batch))
	}
	c.worked(1, time.Millisecond)
	c.closed = true
	if alone, ok := c.put(request()); ok || alone != nil {
		t.Error("a closed storage takes one")
	}
}

// TestTheCommitterWaitsForWhoIsAlone: it neither commits beside a solitary transaction, nor ends
// before that, and finds the commits that came meanwhile.
func TestTheCommitterWaitsForWhoIsAlone(t *testing.T) {
	t.Parallel()
	var c commitQueue
	c.filled.L = &c.mu
	if alone, ok := c.put(&commitRequest{txn: &Txn{m: &Manager{}}}); !ok || len(alone) != 1 {
		t.Fatal("it is not alone")
	}
	waited := make(chan bool)
	wait := func() { waited <- c.wait() }
	still := func(what string) {
		t.Helper()
		select {
		case more := <-waited:
			t.Fatalf("%s the committer goes on: %t", what, more)
		case <-time.After(20 * time.Millisecond):
		}
	}
	go wait()
	if alone, ok := c.put(&commitRequest{txn: &Txn{m: &Manager{}}}); !ok || alone != nil {
		t.Fatal("two commit at a time")
	}
	still("while one commits itself")
	c.worked(1, time.Millisecond)
	if !<-waited {
		t.Fatal("nothing waits")
	}
	if batch := c.take(); len(batch) != 1 {
		t.Fatalf("the committer takes %d", len(batch))
	}
	c.worked(1, time.Millisecond)
	if alone, ok := c.put(&commitRequest{txn: &Txn{m: &Manager{}}}); !ok || len(alone) != 1 {
		t.Fatal("it is not alone")
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	go wait()
	still("of a storage that is closed while one commits itself")
	c.worked(1, time.Millisecond)
	if <-waited {
		t.Fatal("there is something after the end")
	}
}

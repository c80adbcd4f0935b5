package zeo

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestNothingIsLeftOfManyServers: many servers of one process, one after the other, each with its storage, and
// each stopped amid clients in several states. There are as many descriptors and goroutines afterwards as before, and all
// that was acknowledged is there.
func TestNothingIsLeftOfManyServers(t *testing.T) {
	hometest.InTurn(t, 4)
	cycles := hometest.Rounds(t, 200)
	if testing.Short() {
		cycles = 5
	}
	home := memoryHome(t)
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	tid := zodb.TID(0)
	var begin usage
	for i := range cycles {
		if i == 2 { // what a process has once is there
			begin = inUse(t)
		}
		tid = oneServer(t, home, i, tid)
	}
	begin.notMoreThan(t)
	s := openStorage(t, home, engine.Options{})
	if got := s.LastTransaction(); got != tid {
		t.Errorf("the last transaction is %s, and %s was acknowledged", got, tid)
	}
}

// oneServer opens a storage, serves it, and stops; it returns the last transaction that it has acknowledged.
func oneServer(t *testing.T, home string, i int, tid zodb.TID) zodb.TID {
	t.Helper()
	s, err := engine.Open(t.Context(), home, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ts := &testServer{t: t}
	if ts.Server, err = New(t.Context(), Options{Clock: time.Now, Storages: []StorageOptions{{Name: "1", Storage: s}}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- ts.Serve(l) }()

	var all []*rawClient
	client := func() *rawClient {
		c := ts.client(encodingOf(i + len(all)))
		all = append(all, c)
		return c
	}
	tid = client().commit(1, tid, "x")
	half := client()
	whole := half.frame(false, "ping")
	half.quiet(whole[:len(whole)/2])
	closing := client()
	closing.request("loadBefore", zodb.OID(1), tid+1)
	if err := socket(closing.conn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all = append(all, ts.connect())
	holder, waiting := client(), client()
	for _, c := range []*rawClient{holder, waiting} {
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), tid, record("y"), mine)
		c.request("vote", mine)
	}
	eventually(t, "a vote waits", func() bool { return ts.order[0].stats.waiting.Load() == 1 && ts.order[0].stats.holding.Load() == 1 })

	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the time for them has ended
	if err := ts.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range all {
		c.conn.Close()
	}
	return tid
}

// TestAVoteThatWaitsAtTheStopHasItsTurn: the one that holds the lock finishes in the time of the shutdown. The other one
// has a conflict then, by the transaction of the first, and nothing else: no end of the connection in its place.
func TestAVoteThatWaitsAtTheStopHasItsTurn(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		holder, waiting := ts.client(e), ts.client(e)
		first := holder.commit(1, 0, "first")
		var votes []int64
		for _, c := range []*rawClient{holder, waiting} {
			c.begin(mine)
			c.oneWay("storea", zodb.OID(1), first, record("y"), mine)
			votes = append(votes, c.request("vote", mine))
			eventually(t, "it has the lock, or waits", func() bool {
				return ts.order[0].stats.holding.Load() == 1 && ts.order[0].stats.waiting.Load() == int64(len(votes)-1)
			})
		}
		ended := ts.shuts(2)
		if _, err := holder.wait(votes[0]); err != nil {
			t.Fatal(err)
		}
		second := zodb.TIDFromBytes(holder.call("tpc_finish", mine).([]byte))
		conflicts, err := waiting.wait(votes[1])
		if err != nil || len(elements(conflicts)) != 1 {
			t.Fatalf("the vote that waited: %v, %v; want one conflict", conflicts, err)
		}
		holder.conn.Close()
		if frames := waiting.closed(); len(frames) != 0 { // it has nothing to finish any more
			t.Errorf("%d more messages", len(frames))
		}
		waiting.conn.Close()
		if err := ended(); err != nil {
			t.Error(err)
		}
		if got := ts.storages["1"].LastTransaction(); got != second {
			t.Errorf("the last transaction is %s, want %s", got, second)
		}
	})
}

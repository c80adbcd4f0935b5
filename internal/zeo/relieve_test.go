package zeo

import (
	"cmp"
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// all returns the connections, the oldest first.
func (ts *testServer) all() []*conn {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	var list []*conn
	for c := range ts.conns {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *conn) int { return cmp.Compare(a.number, b.number) })
	return list
}

// lone returns the server's side of the only connection.
func (ts *testServer) lone() *conn {
	ts.t.Helper()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.conns) != 1 {
		ts.t.Fatalf("%d connections", len(ts.conns))
	}
	for c := range ts.conns {
		return c
	}
	return nil
}

// unreading is a server whose clock is set, with a connection whose client does not read. All the memory
// for answers, and all files, are held in the name of that connection, as if it were making and
// sending some, until it ends.
func unreading(t *testing.T) (ts *testServer, log *logBuffer, its *conn, later func(time.Duration)) {
	t.Helper()
	var ahead atomic.Int64
	log = &logBuffer{}
	ts = serve(t, Options{Limits: Limits{Memory: 64 << 20, Files: 256, Connections: 100}, Logger: log.logger(),
		Clock:    func() time.Time { return time.Unix(1e9, ahead.Load()) },
		Storages: []StorageOptions{{Name: "1", Storage: openStorage(t, memoryHome(t), engine.Options{})}}})
	// No deadline fits to that clock, and none is wanted.
	mine, far := net.Pipe()
	t.Cleanup(func() { mine.Close() })
	ts.welcome(timeless{far})
	client := &rawClient{t: t, conn: mine, in: wire.NewReader(mine, 1<<30), enc: wire.Pickle}
	client.next()
	client.send([]byte{byte(wire.Pickle), '5'})
	client.call("register", "1", false)
	its = ts.lone()
	client.quiet(client.frame(false, "ping"))
	eventually(t, "the answer waits to be read", func() bool {
		its.out.mu.Lock()
		defer its.out.mu.Unlock()
		return its.out.writing
	})
	for pool, share := range map[*budget.Pool]*budget.Share{ts.budgets.answers: its.has.answers, ts.budgets.files: its.has.files} {
		held := pool.Free()
		share.Add(held)
		context.AfterFunc(its.ctx, func() { share.Give(held) })
	}
	return ts, log, its, func(d time.Duration) { ahead.Add(int64(d)) }
}

// timeless is a connection without deadlines.
type timeless struct{ net.Conn }

func (timeless) SetDeadline(time.Time) error      { return nil }
func (timeless) SetReadDeadline(time.Time) error  { return nil }
func (timeless) SetWriteDeadline(time.Time) error { return nil }

// TestMemoryForAnswersIsNotKeptByWhoReadsNothing: somebody who has none waits for it, in each of
// the ways in which answers are made; its holder has slowTime to go on, and is cut off then.
func TestMemoryForAnswersIsNotKeptByWhoReadsNothing(t *testing.T) {
	t.Parallel()
	for name, take := range map[string]func(ctx context.Context, c *conn) error{
		"made": func(ctx context.Context, c *conn) error {
			return c.making(ctx, "an answer", func(*bill) error { return nil })
		},
		"record": func(ctx context.Context, c *conn) error {
			p := portion{c: c}
			defer p.end()
			return p.take(ctx, 100_000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts, log, its, later := unreading(t)
			c := &conn{srv: ts.Server, has: ts.budgets.shares()}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- take(ctx, c) }()
			eventually(t, "it waits", func() bool { return ts.budgets.answers.Waiting() == 1 })
			later(slowTime)
			if slow := ts.slowest(func(c *conn) int64 { return c.has.answers.Held() }); slow != nil || its.ctx.Err() != nil {
				t.Error("who had no time to read is cut off")
			}
			later(time.Nanosecond)
			if err := <-done; err != nil {
				t.Errorf("who waits has nothing: %v", err)
			}
			if its.ctx.Err() == nil {
				t.Error("who reads nothing is not cut off")
			}
			eventually(t, "the log says why", func() bool { return log.has(errSlow.Error()) })
			eventually(t, "nobody waits any more", func() bool { return ts.unanswered.Load() == 0 && !ts.relieving.Load() })
			if free, all := ts.budgets.answers.Free(), ts.o.Limits.Memory/8; free != all {
				t.Errorf("%d of %d bytes are free", free, all)
			}
		})
	}
}

// TestWhoHoldsSomeWaitsForHimselfFirst: a connection is not cut off for one that holds some of the
// memory that it waits for, as long as it holds it.
func TestWhoHoldsSomeWaitsForHimselfFirst(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]struct {
		share func(shares) *budget.Share
		take  func(ctx context.Context, c *conn) error
	}{
		"answers": {func(h shares) *budget.Share { return h.answers }, func(ctx context.Context, c *conn) error { return c.takeAnswer(ctx, firstAnswer) }},
		"files":   {func(h shares) *budget.Share { return h.files }, func(ctx context.Context, c *conn) error { return c.takeFile(ctx) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts, _, its, later := unreading(t)
			c := &conn{srv: ts.Server, has: ts.budgets.shares()}
			own := of.share(c.has)
			own.Add(1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			waits := make(chan struct{})
			done := make(chan error, 1)
			ts.o.relieved = sync.OnceFunc(func() { close(waits) })
			later(time.Hour)
			go func() { done <- of.take(ctx, c) }()
			select {
			case <-waits:
			case err := <-done:
				t.Fatalf("it does not wait, or nobody looks whether it waits for others: %v", err)
			case <-ctx.Done():
				t.Fatal("nobody looks whether it waits for others by now")
			}
			if its.ctx.Err() != nil {
				t.Error("another one is cut off")
			}
			own.Give(1)
			if err := <-done; err != nil {
				t.Errorf("who waits for others has nothing: %v", err)
			}
			if its.ctx.Err() == nil {
				t.Error("who reads nothing is not cut off")
			}
		})
	}
}

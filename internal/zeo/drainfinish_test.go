package zeo

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestShutdownSendsTheAnswerToAFinish: the client has not read the answer yet when the
// shutdown begins. It is told of its commit before the connection ends.
func TestShutdownSendsTheAnswerToAFinish(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.pipe(e)
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), zodb.TID(0), record("x"), mine)
		c.call("vote", mine)
		id := c.request("tpc_finish", mine)
		eventually(t, "it is committed", func() bool { return ts.order[0].stats.active.Load() == 0 })
		ended := make(chan error, 1)
		go func() { ended <- ts.Shutdown(t.Context()) }()
		eventually(t, "the connection is told to end", func() bool {
			ts.mu.Lock()
			defer ts.mu.Unlock()
			for other := range ts.conns {
				other.mu.Lock()
				draining := other.draining
				other.mu.Unlock()
				return draining
			}
			return true // it has ended
		})
		tid, err := c.wait(id)
		if last := ts.storages["1"].LastTransaction(); err != nil || last == 0 || string(tid.([]byte)) != string(last.Bytes()) {
			t.Errorf("the answer is %q, %v; the last transaction is %s", tid, err, last)
		}
		c.closed()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestNoFinishIsCommittedWithoutAnAnswer: a shutdown takes the connection as one to wait no more for, when a
// finish has been read and is not counted yet. It would be committed, and its answer dropped.
func TestNoFinishIsCommittedWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		last := c.commit(1, 0, "x")
		c.begin(mine)
		c.oneWay("storea", zodb.OID(1), last, record("y"), mine)
		c.call("vote", mine)
		conn := ts.theConn()
		eventually(t, "the vote was read", func() bool { return conn.sends.last.Load() != 0 })
		conn.mu.Lock() // as drained has it, when it decides
		c.request("tpc_finish", mine)
		eventually(t, "the finish is read", func() bool { return conn.sends.last.Load() == 0 })
		conn.deaf.Store(true)
		conn.mu.Unlock()
		c.request("ping") // it is behind the finish
		c.conn.Close()
		eventually(t, "the connection is gone", func() bool { return ts.Connections() == 0 })
		if got := ts.storages["1"].LastTransaction(); got != last {
			t.Errorf("%s was committed, and the client has no answer", got)
		}
	})
}

package zeo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/zeo/stage"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestStepAfterTheEndOfAVoteGoesNowhere: the reader has found the transaction, and then its vote
// fails: the step is not added to a forgotten transaction, and no memory is charged for it.
func TestStepAfterTheEndOfAVoteGoesNowhere(t *testing.T) {
	t.Parallel()
	ts, _, _ := limited(t, Limits{})
	client := ts.client(wire.Pickle)
	client.begin(mine)
	client.call("ping")
	ts.mu.Lock()
	var c *conn
	for c = range ts.conns {
	}
	ts.mu.Unlock()
	x := c.open()
	v, _ := x.stage.StartVote()
	c.take(x, &step{kind: stepStore, oid: 1, data: []byte("in time")})
	if held := c.has.steps.Held(); held != writeMemory+int64(len("in time")) {
		t.Fatalf("%d bytes are charged for a step in time", held)
	}
	w := v.Work()
	if late := v.End(); len(late) != 1 {
		t.Fatalf("%d steps came in time", len(late))
	}
	c.forget(w) // as its vote does that failed
	v.Leave()
	c.take(x, &step{kind: stepBlob, oid: 9, data: []byte("late")})
	if n := c.has.steps.Held(); n != 0 {
		t.Errorf("%d bytes are charged to nobody", n)
	}
}

// TestBeginComesBehindAFinish: the client has its answer, and begins the next transaction, before the
// one that was finished is closed.
func TestBeginComesBehindAFinish(t *testing.T) {
	t.Parallel()
	ts, _, _ := limited(t, Limits{})
	client := ts.client(wire.Pickle)
	client.begin(mine)
	client.call("ping")
	var c *conn
	ts.mu.Lock()
	for c = range ts.conns {
	}
	ts.mu.Unlock()
	x := c.open()
	v, _ := x.stage.StartVote()
	if _, done, err := v.Settle(stage.Voted); !done || err != nil {
		t.Fatal(done, err)
	}
	v.Leave()
	f, _ := x.stage.StartFinish()
	w := f.Work()
	f.End()
	client.begin("the next one")
	eventually(t, "the next one is worked off", func() bool { return c.sends.last.Load() == 0 || c.ctx.Err() != nil })
	c.forget(w)
	f.Leave()
	client.call("vote", "the next one")
	client.call("tpc_finish", "the next one")
}

// TestStepsRaceWithTheEndOfAVote: uploads come while the vote fails; none stays behind, and no
// memory is charged for it in the end.
func TestStepsRaceWithTheEndOfAVote(t *testing.T) {
	t.Parallel()
	ts, dir := sharing(t)
	free := ts.budgets.free()
	holder := ts.client(wire.Msgpack)
	tid := holder.commit(1, 0, "first")
	sub := filepath.Dir(bushy(dir, 9, 1))
	if err := os.MkdirAll(sub, 0o777); err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return "upload" + string(rune('a'+i)) + ".tmp" }
	n := 40
	if testing.Short() {
		n = 10
	}
	for range n {
		holder.begin(mine)
		holder.oneWay("storea", zodb.OID(1), tid, record("again"), mine)
		holder.call("vote", mine)
		c := ts.client(wire.Msgpack)
		c.begin(mine)
		c.oneWay("deleteObject", zodb.OID(1), tid, mine) // a conflict that nobody resolves
		c.request("vote", mine)
		c.oneWay("set_client_label", "voting")
		var wait sync.WaitGroup
		wait.Go(func() { tid = zodb.TIDFromBytes(holder.call("tpc_finish", mine).([]byte)) })
		for i := range 8 {
			if err := os.WriteFile(filepath.Join(sub, name(i)), []byte("blob"), 0o666); err != nil {
				t.Fatal(err)
			}
			c.request("storeBlobShared", zodb.OID(9), zodb.TID(0), record("x"), name(i), mine)
		}
		wait.Wait()
		c.request("tpc_abort", mine)
		for answers := 0; answers < 10; {
			if m := c.message(); m.Name == ".reply" {
				answers++
			}
		}
		c.conn.Close()
		for i := range 8 {
			if _, err := os.Lstat(filepath.Join(sub, name(i))); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("an upload is still there: %v", err)
			}
		}
	}
	holder.conn.Close()
	eventually(t, "everything was given back", func() bool { return ts.Connections() == 0 && ts.budgets.free() == free })
}

// TestConflictsAreConflictsWhereMemoryIsShort: of several the records of one are always sent, and
// an unresolvable one is a conflict, which clients take for a reason to try again.
func TestConflictsAreConflictsWhereMemoryIsShort(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, refused, _ := limited(t, Limits{Memory: 64 << 20, Connections: 1000})
		first := ts.client(e)
		first.begin(mine)
		for oid := range zodb.OID(20) {
			first.oneWay("storea", oid+1, zodb.TID(0), record("first"), mine)
		}
		first.call("vote", mine)
		first.call("tpc_finish", mine)
		others := ts.budgets.answers.Share(0)
		others.Add(ts.budgets.answers.Free()) // as if they were making answers
		vote := func(n zodb.OID) (any, error) {
			c := ts.client(e)
			defer c.conn.Close()
			c.begin(mine)
			for oid := range n {
				c.oneWay("storea", oid+1, zodb.TID(1), append(record("second"), make([]byte, 10_000)...), mine)
			}
			return c.try("vote", mine)
		}
		if got, err := vote(1); err != nil || len(elements(got)) != 1 {
			t.Errorf("one conflict: %v, %v", got, err)
		}
		got, err := vote(20)
		var f *failure
		if !errors.As(err, &f) || f.class != classConflict {
			t.Errorf("twenty conflicts: %v, %v; want %s", got, err, classConflict)
		}
		if refused.of("memory") == 0 {
			t.Error("not counted")
		}
		others.Give(others.Held())
		if got, err := vote(20); err != nil || len(elements(got)) != 20 {
			t.Errorf("twenty conflicts where there is memory: %d, %v", len(elements(got)), err)
		}
		ts.servesOthers()
	})
}

// lateTest is a turnServer on which a transaction of a has the turn, and the vote of b waits.
func lateTest(t *testing.T) (ts *testServer, a, b *rawClient, vote int64) {
	t.Helper()
	ts = turnServer(t)
	a, b = ts.client(wire.Pickle), ts.client(wire.Pickle)
	a.storeMany(mine, 1<<40, 3000)
	b.call("set_client_label", "waits")
	b.storeMany(mine, 1<<41, 2000)
	vote = b.request("vote", mine)
	eventually(t, "its vote waits", ts.budgets.waitsForTurn)
	return ts, a, b, vote
}

// TestLateStepsAreBounded: data that arrives while a vote waits for its turn is taken up to a
// bound, beside the one that has the turn; more makes the vote fail.
func TestLateStepsAreBounded(t *testing.T) {
	t.Parallel()
	ts, a, b, vote := lateTest(t)
	const late = 300
	for i := range late {
		b.request("checkCurrentSerialInTransaction", zodb.OID(1<<42)+zodb.OID(i), zodb.TID(0), mine)
	}
	var answer any
	for answers := 0; answers <= late; {
		if m := b.message(); m.Name == ".reply" {
			answers++
			if m.ID == vote {
				answer = m.Args
			}
		}
	}
	if !strings.Contains(fmt.Sprint(answer), "the data that arrives while a vote waits") {
		t.Errorf("its vote: %v", answer)
	}
	a.call("tpc_abort", mine)
	b.call("tpc_abort", mine)
	eventually(t, "everything was given back", func() bool { return ts.budgets.steps.Free() == ts.o.Limits.Memory/16*5 })
}

// TestLateStepsAreChargedOnce: also once they are done.
func TestLateStepsAreChargedOnce(t *testing.T) {
	t.Parallel()
	const late = 20
	ts, a, b, vote := lateTest(t)
	x := ts.opened("waits")
	for i := range late {
		b.oneWay("storea", zodb.OID(1<<42)+zodb.OID(i), zodb.TID(0), record("late"), mine)
	}
	b.call("ping")
	a.call("tpc_abort", mine)
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	most := int64(2000+late)*writeMemory + ts.budgets.spool
	if held := x.memory.held.Load(); held > most {
		t.Errorf("%d bytes are charged for steps that take %d", held, most)
	}
	b.call("tpc_abort", mine)
}

// TestAccountOfATransaction: it has no more than the largest one may have, also if data comes late.
func TestAccountOfATransaction(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	pool := budget.NewPool(size)
	a := account{share: pool.Share(0)}
	if !a.inTurn(size/8*7 - 100) {
		t.Fatal("the largest one has no room")
	}
	if a.late(101) {
		t.Error("a late step brought it beyond the most")
	}
	if !a.late(100) {
		t.Error("a late step within the most was refused")
	}
	b := account{share: pool.Share(0)}
	if !b.late(100) {
		t.Error("a small step of another one was refused")
	}
	for range 1000 {
		b.late(size / 1000)
	}
	if held := b.held.Load(); held > size/16+lateMost {
		t.Errorf("late steps of another one took %d bytes", held)
	}
	b.give(100)
	a.end()
	b.end()
	if free := pool.Free(); free != size {
		t.Errorf("%d of %d bytes are free in the end", free, size)
	}
}

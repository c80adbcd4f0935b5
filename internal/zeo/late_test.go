package zeo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestStepAfterTheEndOfAVoteGoesNowhere: the reader has found the transaction, and then its
// vote fails: the step is not taken into what nobody looks at any more, and no memory is
// charged for it.
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
	c.mu.Lock()
	x := c.txn
	x.state, x.interrupt = txnWaiting, func(error) {}
	c.mu.Unlock()
	if state, ended := c.join(x, &step{kind: stepStore, oid: 1, data: []byte("in time")}); state != txnWaiting || ended || len(x.late) != 1 {
		t.Fatalf("a step in time: state %v, ended %v, %d late", state, ended, len(x.late))
	}
	c.forget(x) // as its vote does that failed
	st := &step{kind: stepBlob, oid: 9, data: []byte("late")}
	if _, ended := c.join(x, st); !ended || len(x.late) != 1 {
		t.Errorf("a step that is late: ended %v, %d late", ended, len(x.late))
	}
	if n := c.has.steps.Held(); n != 0 {
		t.Errorf("%d bytes are charged to nobody", n)
	}
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

// TestConflictsAreConflictsWhereMemoryIsShort: of several the records of one are always sent,
// and what cannot be resolved is a conflict, which clients take for a reason to try again.
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

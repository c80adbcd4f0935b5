package zeo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// storeMany begins a transaction and stores n objects from an oid on.
func (c *rawClient) storeMany(txn any, from zodb.OID, n int) {
	c.t.Helper()
	c.begin(txn)
	var stream []byte
	for i := range n {
		stream = append(stream, c.frame(true, "storea", from+zodb.OID(i), zodb.TID(0), record(fmt.Sprint(i)), txn)...)
	}
	if _, err := c.conn.Write(stream); err != nil {
		c.t.Fatal(err)
	}
	c.call("ping") // all has been read
}

// turnServer has 1,310,720 bytes for steps, of which one transaction gets 1,146,880: 4,096 objects.
func turnServer(t *testing.T) *testServer {
	t.Helper()
	ts, _, _ := limited(t, Limits{Memory: 4 << 20, Files: 256, Connections: 20})
	return ts
}

// waitsForTurn reports whether somebody has the turn and somebody waits.
func (b *budgets) waitsForTurn() bool {
	b.large.mu.Lock()
	defer b.large.mu.Unlock()
	return b.large.holder != nil && b.large.changed != nil
}

// TestLargeTransactionsTakeTurns: two that do not fit beside each other are both committed, and
// the one that waits keeps nobody else waiting, not on its own connection either.
func TestLargeTransactionsTakeTurns(t *testing.T) {
	t.Parallel()
	const n = 3000
	ts := turnServer(t)
	a, b, small := ts.client(wire.Msgpack), ts.client(wire.Msgpack), ts.client(wire.Msgpack)
	a.storeMany(mine, 1<<40, n)
	b.storeMany(mine, 1<<41, n)
	a.call("vote", mine)
	vote := b.request("vote", mine)
	// Its vote waits for the other one. Loads go on, and so do small transactions.
	b.call("ping")
	tid := small.commit(1<<42, 0, "beside")
	eventually(t, "the second one waits", ts.budgets.waitsForTurn)
	if got := zodb.TIDFromBytes(a.call("tpc_finish", mine).([]byte)); got <= tid {
		t.Errorf("the first one has tid %s, not later than %s", got, tid)
	}
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	b.call("tpc_finish", mine)
	for _, oid := range []zodb.OID{1 << 40, 1<<40 + n - 1, 1 << 41, 1<<41 + n/2, 1<<41 + n - 1} {
		want := record(fmt.Sprint(int(oid & (1<<40 - 1))))
		if got := small.call("loadBefore", oid, zodb.MaxTID).(wire.Tuple)[0].([]byte); string(got) != string(want) {
			t.Errorf("object %s: %q, want %q", oid, got, want)
		}
	}
	eventually(t, "everything was given back", func() bool {
		return ts.budgets.steps.Free() == ts.o.Limits.Memory/16*5
	})
}

// TestTransactionThatNobodyCouldCommit: it is told so at once, with the way out, holds nothing, and
// its place is free for the next one, which may be nearly as large.
func TestTransactionThatNobodyCouldCommit(t *testing.T) {
	t.Parallel()
	ts := turnServer(t)
	a, b := ts.client(wire.Pickle), ts.client(wire.Pickle)
	a.storeMany(mine, 1<<40, 4500)
	if free := ts.budgets.steps.Free(); free != ts.o.Limits.Memory/16*5 {
		t.Errorf("%d bytes are free beside one that has failed", free)
	}
	details := fmt.Sprint(a.fails(classStorage, "vote", mine))
	if !strings.Contains(details, "raise memory-limit, or commit in several transactions") {
		t.Errorf("told %s", details)
	}
	a.call("tpc_abort", mine)
	b.storeMany(mine, 1<<40, 3800)
	b.call("vote", mine)
	b.call("tpc_finish", mine)
}

// TestWhoWaitsInTheWayOfALargeTransactionGivesIn: of two that wait for each other's locks, the one
// whose turn it is goes on, and the other is told to try again.
func TestWhoWaitsInTheWayOfALargeTransactionGivesIn(t *testing.T) {
	t.Parallel()
	ts := turnServer(t)
	a, b := ts.client(wire.Pickle), ts.client(wire.Pickle)
	b.storeMany(mine, 1<<41, 1500) // beside others
	a.storeMany(mine, 1<<40, 3800) // has the turn, and not all of its memory
	for i := range 2000 {
		b.oneWay("storea", zodb.OID(1<<41+1500)+zodb.OID(i), zodb.TID(0), record("x"), mine)
	}
	vote := a.request("vote", mine)
	details := fmt.Sprint(b.fails(classStorage, "vote", mine))
	if !strings.Contains(details, "beside another large one") {
		t.Errorf("told %s", details)
	}
	if _, err := a.wait(vote); err != nil {
		t.Fatal(err)
	}
	a.call("tpc_finish", mine)
	b.call("tpc_abort", mine)
}

// TestAbortWhileATransactionWaitsForItsTurn: nothing of it is left, and steps that come late are
// done behind those that wait.
func TestAbortWhileATransactionWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	ts := turnServer(t)
	a, b := ts.client(wire.Pickle), ts.client(wire.Pickle)
	for _, end := range []string{"abort", "close", "late"} {
		a.storeMany(mine, 1<<40, 3000)
		b.storeMany(mine, 1<<41, 3000)
		vote := b.request("vote", mine)
		eventually(t, "its vote waits", ts.budgets.waitsForTurn)
		switch end {
		case "abort":
			abort := b.request("tpc_abort", mine)
			if _, err := b.wait(vote); err == nil {
				t.Error("the vote ended well")
			}
			if _, err := b.wait(abort); err != nil {
				t.Error(err)
			}
		case "close":
			b.conn.Close()
			b = ts.client(wire.Pickle)
		case "late":
			b.oneWay("storea", zodb.OID(1<<41+2999), zodb.TID(0), record("late"), mine)
			b.call("ping")
			a.call("tpc_abort", mine)
			if _, err := b.wait(vote); err != nil {
				t.Fatal(err)
			}
			b.call("tpc_finish", mine)
			if got := b.call("loadBefore", zodb.OID(1<<41+2999), zodb.MaxTID).(wire.Tuple)[0].([]byte); string(got) != string(record("late")) {
				t.Errorf("the last record is %q", got)
			}
			continue
		}
		a.call("tpc_abort", mine)
	}
	eventually(t, "everything was given back", func() bool {
		return ts.budgets.steps.Free() == ts.o.Limits.Memory/16*5
	})
}

// TestTurnsOfTwoStorages: large transactions of two storages of one server take turns, too, and
// each is committed to its own.
func TestTurnsOfTwoStorages(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{Limits: Limits{Memory: 4 << 20, Files: 256, Connections: 20}, Storages: []StorageOptions{{Name: "1"}, {Name: "2"}}})
	free := ts.budgets.free()
	a, b := ts.client(wire.Msgpack), ts.dial(wire.Msgpack)
	b.call("register", "2", false)
	a.storeMany(mine, 1<<40, 3000)
	b.storeMany(mine, 1<<40, 3000)
	b.storeBlob(mine, 1<<41, "a blob")
	vote := b.request("vote", mine)
	eventually(t, "its vote waits", ts.budgets.waitsForTurn)
	for name, want := range map[string]int{"1": 0, "2": 1} {
		if n := len(scratchFiles(t, ts.storages[name].Home())); n != want {
			t.Errorf("storage %s has %d files of parked steps, want %d", name, n, want)
		}
	}
	a.call("vote", mine)
	first := zodb.TIDFromBytes(a.call("tpc_finish", mine).([]byte))
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	second := zodb.TIDFromBytes(b.call("tpc_finish", mine).([]byte))
	for name, tid := range map[string]zodb.TID{"1": first, "2": second} {
		if last := ts.storages[name].LastTransaction(); last != tid {
			t.Errorf("storage %s ends with %s, not with %s", name, last, tid)
		}
	}
	a.fails(classPOSKey, "loadBefore", zodb.OID(1<<41), zodb.MaxTID)
	b.want(record("2999"), elements(b.call("loadBefore", zodb.OID(1<<40+2999), zodb.MaxTID))[0])
	eventually(t, "everything was given back", func() bool { return ts.budgets.free() == free })
}

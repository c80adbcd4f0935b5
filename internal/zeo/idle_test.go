package zeo

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// idleTest is a turnServer with a clock that the test sets on, in which a has the turn.
type idleTest struct {
	*testServer
	refused *refusals
	log     *logBuffer
	a       *rawClient
	ahead   atomic.Int64 // nanoseconds of the clock before the true time
	looks   atomic.Int64 // of votes that wait
	free    [10]int64    // the room in each pool
}

const idleLimit = time.Minute

func newIdleTest(t *testing.T, limit time.Duration) *idleTest {
	t.Helper()
	return newIdleTestOver(t, limit, false)
}

// newIdleTestOver is newIdleTest over TLS, if that is wanted.
func newIdleTestOver(t *testing.T, limit time.Duration, overTLS bool) *idleTest {
	t.Helper()
	it := &idleTest{}
	l := Limits{Memory: 4 << 20, Files: 256, Connections: 20}
	set := func(o *Options) {
		o.LargeTransactionTimeout = limit
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(it.ahead.Load())) }
		o.looked = func() { it.looks.Add(1) }
		o.lookTime = time.Millisecond
	}
	if overTLS {
		var certificate *tls.Config
		it.testServer, it.refused, it.log, certificate = withCertificates(t, l, set)
		it.tls = certificate
	} else {
		it.testServer, it.refused, it.log = limited(t, l, set)
	}
	it.free = it.budgets.free()
	it.a = it.client(wire.Msgpack)
	it.a.storeMany(mine, 1<<40, 3000)
	return it
}

// pass sets the clock on, and returns when those who wait have seen it.
func (it *idleTest) pass(d time.Duration) {
	it.t.Helper()
	it.ahead.Add(int64(d))
	n := it.looks.Load()
	eventually(it.t, "who waits has looked", func() bool { return it.looks.Load() >= n+3 })
}

// wait has another client vote for a transaction that has to wait, and returns when it does.
func (it *idleTest) wait() (*rawClient, int64) {
	it.t.Helper()
	b := it.client(wire.Msgpack)
	b.storeMany(mine, 1<<41, 3000)
	vote := b.request("vote", mine)
	eventually(it.t, "its vote waits", it.budgets.waitsForTurn)
	it.pass(0)
	return b, vote
}

// ended fails the test unless the transaction of a was ended, a is told why at its vote, and can
// commit after that.
func (it *idleTest) ended(why string) {
	it.t.Helper()
	it.a.oneWay("storea", zodb.OID(1), zodb.TID(0), record("too late"), mine)
	details := fmt.Sprint(it.a.fails(classStorage, "vote", mine))
	if !strings.Contains(details, why+" while others waited") || !strings.Contains(details, "large-transaction-timeout") {
		it.t.Errorf("told %s", details)
	}
	if !it.log.has(why) {
		it.t.Error("the log does not say why")
	}
	it.a.call("tpc_abort", mine)
	it.a.commit(1<<50, 0, "small")
}

// TestWhoIdlesWithTheTurnIsEnded: nothing more comes of a large transaction for which another one
// waits, so that it is aborted, its client is told why, and the other one is committed.
func TestWhoIdlesWithTheTurnIsEnded(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, idleLimit)
	b, vote := it.wait()
	it.ahead.Add(int64(idleLimit))
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	b.call("tpc_finish", mine)
	it.ended("nothing came of it for 1m0s")
	if n := it.refused.of("timeout"); n != 1 {
		t.Errorf("counted %d times", n)
	}
	eventually(t, "everything was given back", func() bool { return it.budgets.steps.Free() == it.o.Limits.Memory/16*5 })
}

// TestWhoIdlesWithTheTurnAloneIsLeftAlone: while nobody waits it may take all the time, and from
// then on a limit of its own.
func TestWhoIdlesWithTheTurnAloneIsLeftAlone(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, idleLimit)
	small := it.client(wire.Msgpack)
	small.commit(1, 0, "beside")
	it.ahead.Add(int64(24 * time.Hour))
	small.commit(2, 0, "beside")
	b, vote := it.wait()
	it.pass(idleLimit - 10*time.Second)
	it.a.call("vote", mine)
	it.pass(idleLimit) // from its vote on there is another limit
	it.a.call("tpc_finish", mine)
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	b.call("tpc_finish", mine)
}

// TestNoLimitForWhoIdlesWithTheTurn: it can be switched off.
func TestNoLimitForWhoIdlesWithTheTurn(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, -1)
	b, vote := it.wait()
	it.pass(24 * time.Hour)
	it.a.call("vote", mine)
	it.a.call("tpc_finish", mine)
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
}

// TestWhoGoesOnWithTheTurnIsLeftAlone: steps come, or pieces of a blob, or of a message.
func TestWhoGoesOnWithTheTurnIsLeftAlone(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, idleLimit)
	b, vote := it.wait()
	for i := range 5 {
		it.pass(idleLimit / 2)
		it.a.oneWay("storea", zodb.OID(2+i), zodb.TID(0), largeRecord(idlePiece), mine)
		it.a.call("ping")
	}
	it.pass(idleLimit / 2)
	it.a.oneWay("storeBlobStart")
	for range 3 {
		it.a.oneWay("storeBlobChunk", make([]byte, idlePiece))
		it.a.call("ping")
		it.pass(idleLimit / 2)
	}
	it.a.oneWay("storeBlobEnd", zodb.OID(50), zodb.TID(0), record("blob"), mine)
	large := it.a.frame(true, "storea", zodb.OID(1), zodb.TID(0), largeRecord(400_000), mine)
	c, _ := it.budgets.large.whose()
	for len(large) > 0 {
		n, before := min(len(large), 150_000), c.sends.bytes.Load()
		it.a.quiet(large[:n])
		large = large[n:]
		eventually(t, "a part of the message is there", func() bool { return c.sends.bytes.Load() > before })
		it.pass(idleLimit / 2)
	}
	it.a.call("vote", mine)
	it.a.call("tpc_finish", mine)
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	b.call("tpc_finish", mine)
}

// TestWhoDawdlesWithTheTurnIsEnded: a small step now and then does not keep the turn for ever.
func TestWhoDawdlesWithTheTurnIsEnded(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, idleLimit)
	b, vote := it.wait()
	for i := range 2*idlePatient - 1 {
		it.pass(idleLimit / 2)
		it.a.oneWay("storea", zodb.OID(1+i), zodb.TID(0), record("a little"), mine)
		it.a.call("ping")
	}
	it.ahead.Add(int64(idleLimit / 2))
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	it.ended("less than 65536 bytes of it came in each 1m0s")
}

// TestLookWhileTheServerWorksForgetsNothing: votes that wait look now and then, and some of the
// looks find the server at work on a step. The time before them counts all the same.
func TestLookWhileTheServerWorksForgetsNothing(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, -1)
	it.a.call("ping")
	c, x := it.budgets.large.whose()
	now := time.Now()
	var seen watch
	look := func() string { return seen.look(c, x, now, idleLimit) }
	c.sends.came(now, 1)
	look()
	for i := range 2 * idlePatient {
		now = now.Add(idleLimit / 2)
		why := look()
		if want := i == 2*idlePatient-1; (why != "") != want {
			t.Fatalf("look %d: %q", i, why)
		}
		c.sends.work()
		if why := look(); why != "" {
			t.Fatalf("while the server works: %s", why)
		}
		c.sends.came(now, 1)
	}
}

// TestWhoIdlesWithMemoryBesideTheTurnIsEnded: the one whose turn it is waits for memory that an
// idle transaction has. One with so little that it takes it from nobody stays.
func TestWhoIdlesWithMemoryBesideTheTurnIsEnded(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, idleLimit)
	it.a.call("tpc_abort", mine)
	little := it.client(wire.Msgpack)
	little.storeMany(mine, 1, 3)
	it.a.storeMany(mine, 1<<40, 1500) // beside others
	b := it.client(wire.Msgpack)
	b.storeMany(mine, 1<<41, 3700)
	vote := b.request("vote", mine)
	eventually(t, "its vote waits", it.budgets.waitsForTurn)
	it.pass(0)
	it.ahead.Add(int64(idleLimit))
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	b.call("tpc_finish", mine)
	it.ended("nothing came of it for 1m0s")
	little.call("vote", mine)
	little.call("tpc_finish", mine)
}

// TestWhoDawdlesBesideTheTurnIsEnded: a small step now and then does not keep much memory from the
// one whose turn it is. All that dawdle are ended, and nobody who goes on.
func TestWhoDawdlesBesideTheTurnIsEnded(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, idleLimit)
	it.a.call("tpc_abort", mine)
	it.a.storeMany(mine, 1<<40, 1000) // beside others
	second, fast := it.client(wire.Msgpack), it.client(wire.Msgpack)
	second.storeMany(mine, 1<<42, 700)
	fast.storeMany(mine, 1<<43, 20)
	b := it.client(wire.Msgpack)
	b.storeMany(mine, 1<<41, 3700)
	vote := b.request("vote", mine)
	eventually(t, "its vote waits", it.budgets.waitsForTurn)
	it.pass(0)
	for i := range 2*idlePatient - 1 {
		it.pass(idleLimit / 2)
		for _, slow := range []*rawClient{it.a, second} {
			slow.oneWay("storea", zodb.OID(1+i), zodb.TID(0), record("a little"), mine)
			slow.call("ping")
		}
		fast.oneWay("storea", zodb.OID(100+i), zodb.TID(0), largeRecord(idlePiece), mine)
		fast.call("ping")
	}
	it.ahead.Add(int64(idleLimit / 2))
	if _, err := b.wait(vote); err != nil {
		t.Fatal(err)
	}
	b.call("tpc_finish", mine)
	why := "less than 65536 bytes of it came in each 1m0s"
	it.ended(why)
	if details := fmt.Sprint(second.fails(classStorage, "vote", mine)); !strings.Contains(details, why) {
		t.Errorf("told %s", details)
	}
	fast.call("vote", mine)
	fast.call("tpc_finish", mine)
}

// TestWaitForOneCountsForNoOther: a vote that has waited for one transaction, and waits for another
// one now, leaves that a limit of its own, also if it has been given some memory in between.
func TestWaitForOneCountsForNoOther(t *testing.T) {
	t.Parallel()
	it := newIdleTest(t, -1)
	it.a.call("ping")
	c, x := it.budgets.large.whose()
	now := time.Now()
	c.sends.came(now, 1) // and nothing since
	var seen watch
	seen.resume(now)
	seen.look(c, nil, now, idleLimit) // another one
	for range 3 {
		now = now.Add(idleLimit - 1)
		seen.look(c, nil, now, idleLimit) // another one
		seen.forget(now)
	}
	seen.pause(now)
	now = now.Add(time.Hour)
	for range 2 {
		seen.resume(now)
		for _, wait := range []time.Duration{0, idleLimit/2 - 1} {
			now = now.Add(wait)
			if why := seen.look(c, x, now, idleLimit); why != "" {
				t.Fatalf("ended: %s", why)
			}
			seen.forget(now)
		}
		seen.pause(now)
		now = now.Add(time.Hour)
	}
	seen.resume(now)
	if why := seen.look(c, x, now.Add(2), idleLimit); why != nothingCame(idleLimit) {
		t.Errorf("after the limit: %q", why)
	}
}

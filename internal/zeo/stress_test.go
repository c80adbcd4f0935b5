package zeo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/internal/zeoclient/cachetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// stress is one round: some clients make random calls on a few objects, and afterwards all their
// answers are compared with the committed transactions.
type stress struct {
	t       *testing.T
	ts      *testServer
	storage *engine.Storage
	oids    []zodb.OID
	begin   zodb.TID      // last transaction before the round
	told    atomic.Uint64 // the newest transaction of which a committer has the answer
}

// session is one connection of a client.
type session struct {
	*cachetest.Cache
	base      zodb.TID // last transaction at registration
	baseKnown bool     // false: something was announced before it could be looked at
	toldThen  zodb.TID // stress.told before it was dialled
}

// seen is one answer to a load.
type seen struct {
	oid    zodb.OID
	before zodb.TID
	rev    *zodb.Revision // nil: None
	gone   bool
}

// missing is one answer to getInvalidations.
type missing struct {
	since, upTo zodb.TID
	oids        []zodb.OID
}

type actor struct {
	*stress
	n        int
	rnd      *rand.Rand
	at       session
	sessions []session
	seen     []seen
	missed   []missing
	last     zodb.TID              // newest tid that it was ever told
	carried  map[zodb.OID]zodb.TID // current revisions in the cache of the connection before
	own      []zodb.TID
	lost     int
}

func TestClientsAreToldOfEachTransactionOnceAndNeverKeepWhatIsStale(t *testing.T) {
	t.Parallel()
	for _, v := range []struct {
		name   string
		o      engine.Options
		rounds int
		delay  bool
	}{
		{"in memory", engine.Options{}, 50, false},
		{"from disk", engine.Options{CacheSize: -1}, 50, false},
		{"loads in memory are delayed", engine.Options{}, 30, true},
		{"loads from disk are delayed", engine.Options{CacheSize: -1}, 30, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := openStorage(t, memoryHome(t), v.o)
			first := firstSeed(t)
			n := hometest.Rounds(t, v.rounds)
			if testing.Short() {
				n = max(1, n/10)
			}
			for i := range n {
				runStress(t, s, first+uint64(i), v.delay)
				if t.Failed() {
					t.Fatalf("round %d: DIRSTORAGE_SEED=%d", i, first+uint64(i))
				}
			}
			t.Logf("%d rounds from seed %d, %d transactions", n, first, len(committed(t, s, 0)))
		})
	}
}

// delays waits at random between the read of a revision and its answer.
func delays(seed uint64) func() {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 99))
	return func() {
		mu.Lock()
		n := rnd.IntN(8)
		mu.Unlock()
		switch {
		case n < 3:
		case n < 6:
			runtime.Gosched()
		default:
			time.Sleep(time.Duration(n) * 200 * time.Microsecond)
		}
	}
}

func runStress(t *testing.T, s *engine.Storage, seed uint64, delay bool) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	o := Options{Clock: time.Now, InvalidationQueueSize: []int{2, 5, 100}[rnd.IntN(3)], Storages: []StorageOptions{{Name: "1", Storage: s}}}
	if rnd.IntN(2) == 0 {
		o.InvalidationAge = time.Hour
	}
	if delay {
		o.afterRead = delays(seed)
	}
	begin := s.LastTransaction()
	ts := &testServer{t: t}
	ts.start(o)
	defer ts.stop()
	oids, err := s.NewOIDs(1 + rnd.IntN(4))
	if err != nil {
		t.Fatal(err)
	}
	st := &stress{t: t, ts: ts, storage: s, oids: oids, begin: begin}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	actors := make([]*actor, 3+rnd.IntN(3))
	for i := range actors {
		a := &actor{stress: st, n: i, rnd: rand.New(rand.NewPCG(seed, uint64(i+1))), carried: make(map[zodb.OID]zodb.TID)}
		actors[i] = a
		wait.Go(func() {
			err := a.dial(ctx)
			for step := 0; step < 12 && err == nil; step++ {
				err = a.step(ctx)
			}
			if err != nil {
				t.Errorf("client %d: %v", a.n, err)
			}
		})
	}
	wait.Wait()
	awaitLostOnes(ctx, t, s)
	for _, a := range actors {
		if a.at.Cache == nil {
			continue
		}
		// All that was finished was announced before the answer to this.
		if err := a.at.Ping(ctx); err != nil {
			t.Errorf("client %d: %v", a.n, err)
		} else if got, want := a.at.LastTID(), s.LastTransaction(); got != want {
			t.Errorf("R3, R6: client %d was told up to %s, and %s is finished", a.n, got, want)
		}
		if err := a.look(ctx, oids); err != nil {
			t.Errorf("client %d: %v", a.n, err)
		}
		a.end()
	}
	all := committed(t, s, begin)
	for _, a := range actors {
		a.compare(all)
	}
}

// awaitLostOnes waits until the transactions of connections that were lost have ended:
// one that was lost while it finished may be committed at any later moment.
func awaitLostOnes(ctx context.Context, t *testing.T, s *engine.Storage) {
	t.Helper()
	for s.Status().OpenTransactions > 0 {
		select {
		case <-ctx.Done():
			t.Fatalf("%d transactions of lost connections do not end", s.Status().OpenTransactions)
		case <-time.After(time.Millisecond):
		}
	}
}

// dial connects, and asks for missed invalidations.
func (a *actor) dial(ctx context.Context) error {
	told := zodb.TID(a.told.Load())
	c, err := cachetest.Dial(ctx, zeoclient.Options{Address: a.ts.address, Encoding: encodingOf(a.rnd.IntN(2))}, true)
	if err != nil {
		return err
	}
	a.at = session{Cache: c, base: c.LastTID(), toldThen: told}
	a.at.baseKnown = len(c.Announced()) == 0
	if c.LastTID() < told {
		return fmt.Errorf("R7: registered at %s, and %s is finished", c.LastTID(), told)
	}
	if c.LastTID() < a.last {
		return fmt.Errorf("registered at %s, and %s was announced", c.LastTID(), a.last)
	}
	if a.last == 0 || a.last == c.LastTID() {
		return nil
	}
	told = zodb.TID(a.told.Load())
	upTo, oids, ok, err := c.GetInvalidations(ctx, a.last)
	if err != nil {
		return err
	}
	if !ok {
		a.carried = make(map[zodb.OID]zodb.TID)
		return nil
	}
	if upTo < told || upTo > c.LastTID() || upTo < a.at.base && a.at.baseKnown {
		return fmt.Errorf("R7: told what was missed up to %s, when %s was finished; registered at %s", upTo, told, a.at.base)
	}
	a.missed = append(a.missed, missing{a.last, upTo, oids})
	// An object outside the list is as current as it was: ask.
	for oid, serial := range a.carried {
		if slices.Contains(oids, oid) {
			delete(a.carried, oid)
			continue
		}
		rev, err := c.LoadBefore(ctx, oid, upTo+1)
		if err != nil || rev == nil || rev.Serial != serial {
			return fmt.Errorf("object %s at %s was not in the list of what was missed from %s to %s, and is %v, %v", oid, serial, a.last, upTo, rev, err)
		}
	}
	return nil
}

// end closes the connection, and keeps the current revisions of its cache.
func (a *actor) end() {
	c := a.at.Cache
	c.Close()
	a.last = c.LastTID()
	for _, oid := range a.oids {
		delete(a.carried, oid)
		if rev, err := c.Load(context.Background(), oid, a.last+1); err == nil && rev != nil && rev.End == 0 {
			a.carried[oid] = rev.Serial
		}
	}
	a.sessions = append(a.sessions, a.at)
	a.at.Cache = nil
}

func (a *actor) again(ctx context.Context) error {
	a.end()
	return a.dial(ctx)
}

func (a *actor) oid() zodb.OID { return a.oids[a.rnd.IntN(len(a.oids))] }

func (a *actor) step(ctx context.Context) error {
	switch n := a.rnd.IntN(100); {
	case n < 35:
		oids := make([]zodb.OID, 1+a.rnd.IntN(4))
		for i := range oids {
			oids[i] = a.oid()
		}
		return a.look(ctx, oids)
	case n < 45:
		told := zodb.TID(a.told.Load())
		if err := a.at.Ping(ctx); err != nil {
			return err
		}
		if got := a.at.LastTID(); got < told {
			return fmt.Errorf("R6: pinged, and told up to %s only: %s was finished before", got, told)
		}
		return nil
	case n < 52:
		return a.again(ctx)
	}
	return a.transaction(ctx)
}

// look loads objects all at once.
func (a *actor) look(ctx context.Context, oids []zodb.OID) error {
	var wait sync.WaitGroup
	found := make([]seen, len(oids))
	errs := make([]error, len(oids))
	before := a.at.LastTID() + 1
	for i, oid := range oids {
		if i > 0 && a.rnd.IntN(3) == 0 {
			before = a.at.LastTID() + 1
		}
		found[i] = seen{oid: oid, before: before}
		wait.Go(func() {
			x := &found[i]
			x.rev, errs[i] = a.at.Load(ctx, x.oid, x.before)
			if errors.Is(errs[i], zodb.ErrNotFound) {
				x.gone, errs[i] = true, nil
			}
		})
	}
	wait.Wait()
	a.seen = append(a.seen, found...)
	return errors.Join(errs...)
}

// transaction does one of any kind, which may end in any way.
func (a *actor) transaction(ctx context.Context) error {
	c := a.at.Cache
	kind := a.rnd.IntN(20)
	// Where the connection is lost: 1 before the vote, 2 while it votes, 3 before
	// the finish, 4 while it finishes. Aborted in the same places.
	lose, abort := 0, 0
	switch a.rnd.IntN(12) {
	case 0, 1:
		lose = 1 + a.rnd.IntN(4)
	case 2:
		abort = 1 + a.rnd.IntN(3)
	}
	stored := make(map[zodb.OID][]byte)
	based := make(map[zodb.OID]zodb.TID)
	if kind > 0 {
		for range 1 + a.rnd.IntN(2) {
			oid := a.oid()
			rev, err := c.Load(ctx, oid, c.LastTID()+1)
			if err != nil && !errors.Is(err, zodb.ErrNotFound) {
				return err
			}
			based[oid] = 0
			if rev != nil {
				based[oid] = rev.Serial
			}
		}
	}
	txn, err := c.Begin(zodb.TxnMeta{User: fmt.Append(nil, a.n)}, zeoclient.BeginOptions{})
	if err != nil {
		return err
	}
	switch {
	case kind == 1:
		for oid, serial := range based {
			stored[oid] = nil
			if err := txn.Delete(oid, serial); err != nil {
				return err
			}
		}
	case kind == 2 && len(a.own) > 0:
		if err := txn.Undo(a.own[a.rnd.IntN(len(a.own))]); err != nil {
			return err
		}
	default:
		for oid, serial := range based {
			data := record(fmt.Sprint(a.n, a.rnd.Uint64()))
			stored[oid] = data
			if err := txn.Store(oid, serial, data); err != nil {
				return err
			}
		}
	}
	if lose == 1 {
		if a.rnd.IntN(2) == 0 {
			if err := c.Flush(); err != nil {
				return err
			}
		}
		return a.again(ctx)
	}
	if abort == 1 {
		return txn.Abort(ctx)
	}
	var resolved []zodb.OID
	for try := 0; ; try++ {
		vote := txn.StartVote()
		if lose == 2 {
			if a.rnd.IntN(2) == 0 {
				time.Sleep(time.Duration(a.rnd.IntN(1000)) * time.Microsecond)
			}
			return a.again(ctx)
		}
		if abort == 2 {
			if err := txn.Abort(ctx); err != nil {
				return err
			}
			_, _, err := vote.Wait(ctx)
			var se *zeoclient.ServerError
			if err != nil && !errors.As(err, &se) {
				return err
			}
			return nil
		}
		var conflicts []zeoclient.Conflict
		resolved, conflicts, err = vote.Wait(ctx)
		if err != nil {
			if !errors.Is(err, zodb.ErrConflict) && !errors.Is(err, zodb.ErrUndo) && !errors.Is(err, zodb.ErrNotFound) {
				return fmt.Errorf("vote: %w", err)
			}
			return txn.Abort(ctx)
		}
		if len(conflicts) == 0 {
			break
		}
		if try > 20 {
			return errors.New("conflicts without end")
		}
		for _, k := range conflicts {
			if !bytes.Equal(k.Data, stored[k.OID]) {
				return fmt.Errorf("the conflict on object %s shows another record than the one that was stored", k.OID)
			}
			if _, err := c.LoadSerial(ctx, k.OID, k.Committed); err != nil && !errors.Is(err, zodb.ErrNotFound) {
				return err
			}
			stored[k.OID] = record(fmt.Sprint("resolved", a.n, a.rnd.Uint64()))
			if err := txn.Store(k.OID, k.Committed, stored[k.OID]); err != nil {
				return err
			}
		}
	}
	if lose == 3 {
		return a.again(ctx)
	}
	if abort == 3 {
		return txn.Abort(ctx)
	}
	if lose == 4 {
		short, cancel := context.WithTimeout(ctx, time.Duration(a.rnd.IntN(2000))*time.Microsecond)
		_, err := c.Finish(short, txn, stored, resolved)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		a.lost++
		return a.again(ctx)
	}
	tid, err := c.Finish(ctx, txn, stored, resolved)
	if err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	for {
		told := a.told.Load()
		if uint64(tid) <= told || a.told.CompareAndSwap(told, uint64(tid)) {
			break
		}
	}
	a.own = append(a.own, tid)
	return nil
}

// compare looks at all answers to a client, with the committed transactions at hand.
func (a *actor) compare(all []*zodb.Transaction) {
	tids := make([]zodb.TID, len(all))
	changes := make(map[zodb.OID][]zodb.TID)
	for i, tx := range all {
		tids[i] = tx.TID
		for _, oid := range tx.OIDs {
			changes[oid] = append(changes[oid], tx.TID)
		}
	}
	for i, s := range a.sessions {
		if err := s.Broken(); err != nil {
			a.t.Errorf("client %d, connection %d: %v", a.n, i, err)
		}
		base := s.base
		if got := s.Announced(); !s.baseKnown && len(got) > 0 {
			at, ok := slices.BinarySearch(tids, got[0])
			switch {
			case !ok:
				a.t.Errorf("client %d was told of %s, which does not exist", a.n, got[0])
				continue
			case at > 0:
				base = tids[at-1]
			default:
				base = a.begin
			}
			if base < s.toldThen {
				a.t.Errorf("client %d was told of %s again", a.n, got[0])
			}
		}
		if err := s.Continuous(base, tids); err != nil {
			a.t.Errorf("client %d, connection %d, base %s: %v", a.n, i, base, err)
		}
		if err := s.Err(); !errors.Is(err, zeoclient.ErrClosed) {
			a.t.Errorf("client %d, connection %d ended: %v", a.n, i, err)
		}
	}
	for _, x := range a.seen {
		list := changes[x.oid]
		at, _ := slices.BinarySearch(list, x.before)
		if at == 0 {
			if x.rev != nil {
				a.t.Errorf("client %d: object %s before %s: %v, and there was none", a.n, x.oid, x.before, x.rev)
			}
			continue
		}
		want := list[at-1]
		switch {
		case x.gone:
			rec, err := a.storage.LoadRecord(context.Background(), x.oid, want)
			if err == nil && rec.Exists {
				a.t.Errorf("client %d: object %s before %s: not found, and was stored at %s", a.n, x.oid, x.before, want)
			}
			continue
		case x.rev == nil || x.rev.Serial != want:
			a.t.Errorf("client %d: object %s before %s is of %v; want %s", a.n, x.oid, x.before, x.rev, want)
			continue
		}
		if x.rev.End != 0 && (at == len(list) || list[at] != x.rev.End) {
			a.t.Errorf("client %d: object %s before %s ends at %s; want %v", a.n, x.oid, x.before, x.rev.End, list[at:])
		}
		if data, err := a.storage.LoadSerial(context.Background(), x.oid, want); err != nil || !bytes.Equal(data, x.rev.Data) {
			a.t.Errorf("client %d: object %s at %s: %q; want %q, %v", a.n, x.oid, want, x.rev.Data, data, err)
		}
	}
	for _, m := range a.missed {
		want := make(map[zodb.OID]bool)
		for _, tx := range all {
			if tx.TID > m.since && tx.TID <= m.upTo {
				for _, oid := range tx.OIDs {
					want[oid] = true
				}
			}
		}
		for _, oid := range m.oids {
			if !want[oid] {
				a.t.Errorf("client %d: %s is in the list of what was missed from %s to %s, once too often", a.n, oid, m.since, m.upTo)
			}
			delete(want, oid)
		}
		if len(want) > 0 {
			a.t.Errorf("client %d: %v not in the list of what was missed from %s to %s", a.n, want, m.since, m.upTo)
		}
	}
}

// TestRegistrationIsOneStep registers all the time while others commit: the first
// announcement is of the transaction after the one that register answered (R7).
func TestRegistrationIsOneStep(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{})
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for i := range 2 {
		c := ts.dialCache(encodingOf(i))
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
				if err == nil {
					_, err = txn.Commit(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := make(map[zodb.TID]zodb.TID) // the one announced after it
	for i := range hometest.Rounds(t, 150) {
		c := ts.dial(encodingOf(i))
		base := zodb.TIDFromBytes(c.call("register", "1", false).([]byte))
		m := c.message()
		if m.Name != "invalidateTransaction" {
			t.Fatalf("told %v", m)
		}
		next[base] = zodb.TIDFromBytes(elements(m.Args)[0].([]byte))
		c.conn.Close()
	}
	close(stop)
	wait.Wait()
	for _, tx := range committed(t, ts.storages["1"], 0) {
		if got, ok := next[tx.Previous]; ok && got != tx.TID {
			t.Errorf("registered at %s, and told of %s first; %s was left out", tx.Previous, got, tx.TID)
		}
		delete(next, tx.Previous)
	}
	if len(next) > 0 {
		t.Errorf("registered at transactions that do not exist: %v", next)
	}
}

// TestEachIncrementOfAHotObjectCounts lets 16 clients increment one number, with
// a conflict nearly each time.
func TestEachIncrementOfAHotObjectCounts(t *testing.T) {
	t.Parallel()
	const clients, each = 16, 25
	s := openStorage(t, memoryHome(t), engine.Options{})
	ts := serve(t, Options{Storages: []StorageOptions{{Name: "1", Storage: s}}})
	first := ts.client(wire.Pickle)
	first.commit(1, 0, "0")
	value := func(data []byte) int {
		for n := range clients*each + 1 {
			if bytes.Equal(data, record(fmt.Sprint(n))) {
				return n
			}
		}
		t.Errorf("a strange record %q", data)
		return 0
	}
	var wait sync.WaitGroup
	var votes atomic.Int64
	for i := range clients {
		c := ts.dialCache(encodingOf(i))
		wait.Go(func() {
			mine := 0
			for range each {
				rev, err := c.Load(t.Context(), 1, c.LastTID()+1)
				if err != nil {
					t.Error(err)
					return
				}
				data := record(fmt.Sprint(value(rev.Data) + 1))
				txn, err := c.Begin(zodb.TxnMeta{}, zeoclient.BeginOptions{})
				if err == nil {
					err = txn.Store(1, rev.Serial, data)
				}
				for err == nil {
					var conflicts []zeoclient.Conflict
					mine++
					if _, conflicts, err = txn.Vote(t.Context()); err != nil || len(conflicts) == 0 {
						break
					}
					var current []byte
					if current, err = c.LoadSerial(t.Context(), 1, conflicts[0].Committed); err == nil {
						data = record(fmt.Sprint(value(current) + 1))
						err = txn.Store(1, conflicts[0].Committed, data)
					}
				}
				if err == nil {
					_, err = c.Finish(t.Context(), txn, map[zodb.OID][]byte{1: data}, nil)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			votes.Add(int64(mine))
			if mine > 2*each {
				t.Errorf("client %d needed %d votes for %d transactions", i, mine, each)
			}
			if err := c.Broken(); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	rev, err := ts.storages["1"].Load(t.Context(), 1)
	if err != nil || value(rev.Data) != clients*each {
		t.Errorf("%d increments counted of %d, %v", value(rev.Data), clients*each, err)
	}
	t.Logf("%.2f votes for each transaction", float64(votes.Load())/(clients*each))
}

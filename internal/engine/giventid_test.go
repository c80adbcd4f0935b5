package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// voteFor votes for a transaction that stores one object, as a copy if it is given a tid.
func voteFor(t *testing.T, s *engine.Storage, oid zodb.OID, tid zodb.TID) (zodb.Txn, error) {
	t.Helper()
	ctx := t.Context()
	txn, err := s.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: tid})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { txn.Abort() })
	if tid == 0 {
		err = txn.Store(oid, 0, pickletest.Record("own"))
	} else {
		err = txn.Restore(ctx, zodb.Record{OID: oid, TID: tid, Data: pickletest.Record("copy"), Exists: true}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return txn, txn.Vote(ctx)
}

func mustVote(t *testing.T, s *engine.Storage, oid zodb.OID, tid zodb.TID) zodb.Txn {
	t.Helper()
	txn, err := voteFor(t, s, oid, tid)
	if err != nil {
		t.Fatal(err)
	}
	return txn
}

// finished is the end of a Finish.
type finished struct {
	tid zodb.TID
	err error
}

// finishBeside finishes a transaction in a goroutine, and returns when that has come to its end
// or waits in the queue.
func finishBeside(t *testing.T, s *engine.Storage, txn zodb.Txn) <-chan finished {
	t.Helper()
	ended := make(chan finished, 1)
	before := s.TxnReport().Finishing
	go func() {
		tid, err := txn.Finish(context.Background(), nil)
		ended <- finished{tid, err}
	}()
	for {
		if s.TxnReport().Finishing > before || len(ended) > 0 {
			return ended
		}
		time.Sleep(time.Millisecond)
	}
}

func result(t *testing.T, ended <-chan finished) finished {
	t.Helper()
	select {
	case f := <-ended:
		return f
	case <-time.After(time.Minute):
		t.Fatal("the finish does not end")
		return finished{}
	}
}

// TestFinishOfCopyIsNotOvertaken: others come to their finish first, which were voted for before it and
// after it.
func TestFinishOfCopyIsNotOvertaken(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	base := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("root")})
	early := mustVote(t, s, 10, 0)
	one := finishBeside(t, s, mustVote(t, s, 9, 0))
	base = max(base, result(t, one).tid)
	copied := mustVote(t, s, 11, base+1)
	late := mustVote(t, s, 12, 0)
	first, second := finishBeside(t, s, early), finishBeside(t, s, late)
	tid, err := copied.Finish(t.Context(), nil)
	if err != nil || tid != base+1 {
		t.Errorf("the copy got %s, %v, want %s", tid, err, base+1)
	}
	for name, ended := range map[string]<-chan finished{"earlier": first, "later": second} {
		if f := result(t, ended); f.err != nil || f.tid <= tid {
			t.Errorf("the one voted for %s got %s, %v, want one after %s", name, f.tid, f.err, tid)
		}
	}
	if got := len(engine.TIDs(t, s)); got != 5 {
		t.Errorf("%d transactions, want 5", got)
	}
}

// TestAbortOfCopyLetsOthersFinish, and another copy vote.
func TestAbortOfCopyLetsOthersFinish(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	base := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("root")})
	copied := mustVote(t, s, 11, base+1)
	own := finishBeside(t, s, mustVote(t, s, 12, 0))
	if len(own) > 0 {
		t.Error("another one was committed after the vote")
	}
	if err := copied.Abort(); err != nil {
		t.Fatal(err)
	}
	f := result(t, own)
	if f.err != nil {
		t.Fatal(f.err)
	}
	if _, err := voteFor(t, s, 11, f.tid); !errors.Is(err, zodb.ErrOldTID) {
		t.Errorf("a vote with the last tid: %v", err)
	}
	if tid, err := mustVote(t, s, 11, f.tid+1).Finish(t.Context(), nil); err != nil || tid != f.tid+1 {
		t.Errorf("the next copy: %s, %v", tid, err)
	}
}

// TestVoteOfCopyWaitsForAnother, and for no longer than its context lasts.
func TestVoteOfCopyWaitsForAnother(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	base := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("root")})
	first := mustVote(t, s, 11, base+5)
	second, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: base + 6})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Abort()
	ctx, cancel := context.WithCancel(t.Context())
	voted := make(chan error, 1)
	go func() { voted <- second.Vote(ctx) }()
	cancel()
	if err := <-voted; !errors.Is(err, context.Canceled) {
		t.Errorf("the vote behind another copy: %v", err)
	}
	go func() { voted <- second.Vote(t.Context()) }()
	if tid, err := first.Finish(t.Context(), nil); err != nil || tid != base+5 {
		t.Errorf("the first: %s, %v", tid, err)
	}
	if err := <-voted; err != nil {
		t.Fatal(err)
	}
	if tid, err := second.Finish(t.Context(), nil); err != nil || tid != base+6 {
		t.Errorf("the second: %s, %v", tid, err)
	}
}

// syncGate holds a commit between its fsync and its publication.
type syncGate struct {
	at, on chan struct{}
}

func (*syncGate) LockWaited(time.Duration)        {}
func (*syncGate) Flushed(time.Duration, int, int) {}

func (g *syncGate) Synced(time.Duration, int) {
	if g.at != nil {
		g.at <- struct{}{}
		<-g.on
	}
}

// TestVoteOfCopyMindsTheCommitUnderWay, of which the last transaction does not tell yet.
func TestVoteOfCopyMindsTheCommitUnderWay(t *testing.T) {
	t.Parallel()
	g := &syncGate{at: make(chan struct{}), on: make(chan struct{})}
	s := engine.NewStorage(t, engine.Options{Observer: g, History: engine.HistoryKept})
	past := s.LastTransaction()
	txn := mustVote(t, s, 12, 0)
	own := make(chan finished, 1)
	go func() {
		tid, err := txn.Finish(context.Background(), nil)
		own <- finished{tid, err}
	}()
	<-g.at
	copied, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{TID: past + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Abort()
	voted := make(chan error, 1)
	go func() { voted <- copied.Vote(t.Context()) }()
	for turn := false; !turn && len(voted) == 0; time.Sleep(time.Millisecond) {
		turn = s.TxnReport().WaitForIdle
	}
	g.on <- struct{}{}
	if err := <-voted; !errors.Is(err, zodb.ErrOldTID) {
		t.Errorf("the vote beside a commit with a later tid: %v", err)
	}
	if f := result(t, own); f.err != nil {
		t.Error(f.err)
	}
}

// TestCloseWaitsForNoCopy: one that is voted for and not finished is aborted, and who waits for
// it in Finish is finished.
func TestCloseWaitsForNoCopy(t *testing.T) {
	t.Parallel()
	home := engine.NewHome(t, engine.CreateOptions{})
	s := engine.OpenHome(t, home, engine.Options{})
	base := enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("root")})
	copied := mustVote(t, s, 11, base+1)
	own := finishBeside(t, s, mustVote(t, s, 12, 0))
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	f := result(t, own)
	if f.err != nil || f.tid <= base {
		t.Errorf("who was in Finish: %s, %v", f.tid, f.err)
	}
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Close does not end")
	}
	if _, err := copied.Finish(t.Context(), nil); !errors.Is(err, zodb.ErrState) {
		t.Errorf("the copy after Close: %v", err)
	}
}

// TestNoFinishFailsAfterItsVote: many writers, and copies with the next tid among them.
func TestNoFinishFailsAfterItsVote(t *testing.T) {
	t.Parallel()
	s := engine.NewStorage(t, engine.Options{})
	enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("root")})
	const each = 40
	var wait sync.WaitGroup
	var copies, old [4]int
	for w := range 4 {
		wait.Go(func() { // its own transactions
			for i := range each {
				if _, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: zodb.OID(1000*(w+1) + i), Data: pickletest.Record("own")}); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
		wait.Go(func() { // copies, of which half are aborted
			for i := range each {
				given := s.LastTransaction() + 1
				txn, err := s.Begin(t.Context(), zodb.TxnMeta{Description: fmt.Appendf(nil, "%d", i)}, zodb.BeginOptions{TID: given})
				if err == nil {
					err = txn.Vote(t.Context())
				}
				switch {
				case errors.Is(err, zodb.ErrOldTID):
					old[w]++
					txn.Abort()
				case err != nil:
					t.Errorf("copier %d: %v", w, err)
				case i%2 == 0:
					txn.Abort()
				default:
					if tid, err := txn.Finish(t.Context(), nil); err != nil || tid != given {
						t.Errorf("copier %d: the finish with %s: %s, %v", w, given, tid, err)
					}
					copies[w]++
				}
			}
		})
	}
	wait.Wait()
	n := 0
	for w := range copies {
		n += copies[w]
	}
	if got := len(engine.TIDs(t, s)); got != 1+4*each+n {
		t.Errorf("%d transactions, want %d", got, 1+4*each+n)
	}
	t.Logf("%d copies, %v refused by their votes", n, old)
}

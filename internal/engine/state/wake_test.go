package state

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestACommitWakesTheWorkerWhenItHasToLook: with the first transaction, from which on it knows when
// to flush at the latest, and from the one on with which a flush is due; not with those between.
func TestACommitWakesTheWorkerWhenItHasToLook(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	woken := func() bool {
		select {
		case <-s.Woken():
			return true
		default:
			return false
		}
	}
	due := s.o.Journal.FlushTransactionThreshold
	for round := range 2 {
		for n := 1; n <= due+2; n++ {
			tid := zodb.TID(100*round + n)
			publish(s, tid, zodb.OID(n), 0)
			if want := n == 1 || n >= due; woken() != want {
				t.Errorf("round %d, transaction %d, and a flush is due at %d: woken is %t", round, n, due, !want)
			}
			if d := s.Decide(true, false); (d.Job == JobFlush) != (n >= due) || d.Job == JobNone && d.Wait > s.o.Journal.FlushInterval {
				t.Errorf("round %d, transaction %d: job %d, else in %s", round, n, d.Job, d.Wait)
			}
		}
		batch := s.NextBatch(zodb.MaxTID)
		if side := s.BeginFlush(batch); side != store.A {
			t.Fatalf("into %s", side)
		}
		s.Flushed(batch, zodb.Counts{}, 0)
		woken()
	}
}

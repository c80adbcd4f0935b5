package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// idle keeps the worker within a step until its result is called, so that a test does the worker's
// steps itself. Anything may come between two of them.
func idle(t *testing.T, s *Storage) (again func()) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.state.RunTask(t.Context(), func() (bool, error) {
			close(begun)
			<-end
			return true, nil
		})
	}()
	<-begun
	return func() {
		t.Helper()
		close(end)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// enters asks for a snapshot, and returns when the request is there.
func enters(t *testing.T, ctx context.Context, s *Storage, code string) (q *state.Entry, entered <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.EnterSnapshot(ctx, code) }()
	eventually(t, "the request", func() bool {
		q = s.state.Decide(true, false).Entry
		return q != nil && q.Code == code
	})
	return q, done
}

// wantDescribed compares the description of a snapshot with the end of A.
func wantDescribed(t *testing.T, s *Storage, home string, least zodb.TID) {
	t.Helper()
	r, err := snapfile.Read(s.home.FS)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(home, pathOf(s, store.A, layout.XSerial)))
	if err != nil {
		t.Fatal(err)
	}
	x, err := record.ParseX(b, "x.serial")
	if err != nil {
		t.Fatal(err)
	}
	st := s.Status().SnapshotMode
	if st == nil || r.TID != zodb.TID(x) || st.TID != r.TID {
		t.Errorf("the snapshot is said to be of %s, in the status of %+v, and A ends with %s", r.TID, st, zodb.TID(x))
	}
	if r.TID < least {
		t.Errorf("the snapshot is of %s, and %s was committed before it was asked for", r.TID, least)
	}
}

// TestFlushThatWasAboutToBeginIsInTheSnapshot: the worker has decided to flush all that
// there is, a snapshot is asked for, and another transaction is committed; then it flushes.
func TestFlushThatWasAboutToBeginIsInTheSnapshot(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	commit(t, s, change{oid: 0, data: rec("one")})
	again := idle(t, s)
	_, entered := enters(t, t.Context(), s, "a")
	last := commit(t, s, change{oid: 0, data: rec("two")})
	if err := s.worker.Do(state.Decision{Job: state.JobFlush, UpTo: zodb.MaxTID}); err != nil {
		t.Fatal(err)
	}
	again()
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	wantDescribed(t, s, home, last)
}

// TestSnapshotAfterOneThatWasGivenUpHoldsWhatCameBetween: the worker has decided to enter,
// the request is given up, a transaction is committed, and somebody else asks.
func TestSnapshotAfterOneThatWasGivenUpHoldsWhatCameBetween(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	commit(t, s, change{oid: 0, data: rec("one")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := idle(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	_, gaveUp := enters(t, ctx, s, "a")
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	last := commit(t, s, change{oid: 0, data: rec("two")})
	q, entered := enters(t, t.Context(), s, "b")
	if err := s.worker.Do(state.Decision{Job: state.JobEnter, Entry: q}); err != nil {
		t.Fatal(err)
	}
	again()
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	wantDescribed(t, s, home, last)
}

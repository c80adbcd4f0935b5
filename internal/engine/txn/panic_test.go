package txn_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestAPanicInACommitFailsTheStorage: after a caller recovered, as a server does, the storage
// refuses all further transactions, and makes none wait for ever.
func TestAPanicInACommitFailsTheStorage(t *testing.T) {
	t.Parallel()
	s := newStorage(t)
	commit(t, s, change{oid: 1, data: rec("first")})
	x, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(x.Store(2, 0, rec("second")), x.Vote(t.Context())); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("the panic of a callback is lost")
			}
		}()
		_, _ = x.Finish(t.Context(), func(zodb.TID) { panic("a fault") })
	}()
	done := make(chan error, 1)
	go func() {
		y, err := s.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
		if err == nil {
			err = errors.Join(y.Store(3, 0, rec("third")), y.Vote(t.Context()))
		}
		if err == nil {
			_, err = y.Finish(t.Context(), nil)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if _, ok := errors.AsType[*zodb.FailedError](err); !ok {
			t.Errorf("the next transaction: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the next transaction waits for ever")
	}
}

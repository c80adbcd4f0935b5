package engine_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// ends returns the error with which a sequence ends. After its first item the storage is closed, if
// first is set.
func ends[V any](list iter.Seq2[V, error], first func()) (err error) {
	for _, err = range list {
		if first != nil {
			first()
			first = nil
		}
	}
	return err
}

// TestIterationsOfAClosedStorageEndWithAnError, that which is closed meanwhile too, in all formats: an
// end without one would say that there is nothing more.
func TestIterationsOfAClosedStorageEndWithAnError(t *testing.T) {
	t.Parallel()
	lists := []struct {
		name string
		of   func(context.Context, *engine.Storage) func(first func()) error
	}{
		{"OIDs", func(ctx context.Context, s *engine.Storage) func(func()) error {
			return func(first func()) error { return ends(s.OIDs(ctx), first) }
		}},
		{"Serials", func(ctx context.Context, s *engine.Storage) func(func()) error {
			return func(first func()) error { return ends(s.Serials(ctx, 1), first) }
		}},
		{"Transactions", func(ctx context.Context, s *engine.Storage) func(func()) error {
			return func(first func()) error { return ends(s.Transactions(ctx, 0, 0), first) }
		}},
		{"TransactionsBackward", func(ctx context.Context, s *engine.Storage) func(func()) error {
			return func(first func()) error { return ends(s.TransactionsBackward(ctx, 0), first) }
		}},
		{"Records", func(ctx context.Context, s *engine.Storage) func(func()) error {
			last, err := s.Transaction(ctx, s.LastTransaction())
			if err != nil {
				t.Error(err)
				last = &zodb.Transaction{}
			}
			return func(first func()) error { return ends(s.Records(ctx, last), first) }
		}},
		{"HistoryBackward", func(ctx context.Context, s *engine.Storage) func(func()) error {
			return func(first func()) error { return ends(s.HistoryBackward(ctx, 1), first) }
		}},
		{"UndoLog", func(ctx context.Context, s *engine.Storage) func(func()) error {
			return func(first func()) error { return ends(s.UndoLog(ctx), first) }
		}},
		{"Blobs", func(ctx context.Context, s *engine.Storage) func(func()) error {
			return func(first func()) error { return ends(s.Blobs(ctx), first) }
		}},
	}
	for _, format := range engine.AllFormats() {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			home := engine.NewHome(t, engine.CreateOptions{Format: format.String()})
			for _, list := range lists {
				for _, meanwhile := range []bool{false, true} {
					s := engine.OpenHome(t, home, engine.Options{})
					for range 3 {
						enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: pickletest.Record("a")}, enginetest.Change{OID: 2, Data: pickletest.Record("b")})
					}
					if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
						t.Fatal(err)
					}
					iterate := list.of(t.Context(), s)
					shut := func() {
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					}
					if list.name == "Blobs" && meanwhile { // there are none
						shut()
						continue
					}
					if !meanwhile {
						shut()
						shut = nil
					}
					if err := iterate(shut); !errors.Is(err, zodb.ErrClosed) {
						t.Errorf("%s, closed meanwhile %t: it ends with %v", list.name, meanwhile, err)
					}
				}
			}
			s := engine.OpenHome(t, home, engine.Options{})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Load(t.Context(), 1); errors.Is(err, zodb.ErrNotFound) {
				t.Errorf("an object of a closed storage: %v", err)
			}
		})
	}
}

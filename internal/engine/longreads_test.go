package engine_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestLongReadsEndWithTheirContext: no more than a step after it, also where each step is
// answered from memory.
func TestLongReadsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	s := enginetest.Open(t, enginetest.Home(t, engine.CreateOptions{Format: engine.FormatOf(t)}), engine.Options{})
	var tid zodb.TID
	for i := range 5 {
		tid = enginetest.Commit(t, s, enginetest.Change{OID: 1, Data: enginetest.Record(fmt.Sprint(i))}, enginetest.Change{OID: 2, Data: enginetest.Record("x")})
	}
	txn, err := s.Transaction(t.Context(), tid)
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(ctx context.Context, step func()) error{
		"Serials": func(ctx context.Context, step func()) (last error) {
			for _, err := range s.Serials(ctx, 1) {
				step()
				last = err
			}
			return last
		},
		"HistoryBackward": func(ctx context.Context, step func()) (last error) {
			for _, err := range s.HistoryBackward(ctx, 1) {
				step()
				last = err
			}
			return last
		},
		"Transactions": func(ctx context.Context, step func()) (last error) {
			for _, err := range s.TransactionsBackward(ctx, 0) {
				step()
				last = err
			}
			return last
		},
		"UndoLog": func(ctx context.Context, step func()) (last error) {
			for _, err := range s.UndoLog(ctx) {
				step()
				last = err
			}
			return last
		},
		"Records": func(ctx context.Context, step func()) (last error) {
			for _, err := range s.Records(ctx, txn) {
				step()
				last = err
			}
			return last
		},
		"TransactionSize": func(ctx context.Context, step func()) error {
			step()
			_, err := s.TransactionSize(ctx, txn)
			return err
		},
		"NextOID": func(ctx context.Context, step func()) error {
			step()
			_, err := s.NextOID(ctx, 0)
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		err := read(ctx, func() { steps++; cancel() })
		if !errors.Is(err, context.Canceled) || steps > 2 {
			t.Errorf("%s: %v after %d steps", name, err, steps)
		}
		cancel()
	}
}

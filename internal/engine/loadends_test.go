package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestALoadThatIsInterruptedHasNothingOfTheTransaction: what it was given of it may not be all, also
// if nothing else has told that.
func TestALoadThatIsInterruptedHasNothingOfTheTransaction(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	if err := engine.CreateOn(disk, layout.Bundled, nil); err != nil {
		t.Fatal(err)
	}
	loader, err := engine.OpenLoader(t.Context(), "", sweepOptions(disk))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	txn, err := loader.Begin(ctx, zodb.TxnMeta{}, zodb.BeginOptions{TID: 1000})
	if err == nil {
		err = txn.Restore(ctx, zodb.Record{OID: 2, Data: sweptData(2, 1), Exists: true}, &zodb.BlobSource{Reader: strings.NewReader("a part")})
	}
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := txn.Vote(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("voted: %v", err)
	}
	if err := errors.Join(txn.Abort(), loader.Close()); err != nil {
		t.Fatal(err)
	}
	if err := within(t.Context(), disk, func(s *engine.Storage) error {
		if last := s.LastTransaction(); last != 0 {
			t.Errorf("transaction %s is there", last)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

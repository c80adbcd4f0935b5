package engine_test

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPackPassesALinkThatDoesNotGoBackwards: no checksum covers which transaction one names as
// the one before. A pack does not go where a damaged name leads, to newer ones and round and
// round; it leaves that transaction, and goes on with the names of files. An undelete, which
// links all transactions, mends it.
func TestPackPassesALinkThatDoesNotGoBackwards(t *testing.T) {
	t.Parallel()
	for _, stays := range []bool{false, true} {
		s := engine.PackStorage(t, engine.Options{}, "storage.delay_delete=864000")
		enginetest.Commit(t, s, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1, 2, 3)}, enginetest.Change{OID: 1, Data: pickletest.Record("one")}, enginetest.Change{OID: 2, Data: pickletest.Record("two")}, enginetest.Change{OID: 3, Data: pickletest.Record("three")})
		first := s.LastTransaction()
		for range 3 {
			enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: pickletest.Record("goes")})
		}
		enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: pickletest.Record("goes")})
		second := s.LastTransaction()
		wrong := enginetest.Change{OID: 2, Data: pickletest.Record("goes, too")}
		if stays {
			wrong = enginetest.Change{OID: 3, Data: pickletest.Record("stays")}
		}
		enginetest.Commit(t, s, wrong)
		damaged := s.LastTransaction()
		enginetest.Commit(t, s, enginetest.Change{OID: 2, Data: pickletest.Record("current")}, enginetest.Change{OID: 0, Data: pickletest.Record("root", 1, 2, 3)})
		last := s.LastTransaction()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		path := engine.FileOfA(t, s.Home(), layout.Transaction(damaged))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint64(b[24:], uint64(last))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if r, err := s.Pack(ctx, zodb.PackOptions{}); err != nil || r.Transactions != 3 {
			t.Fatalf("stays: %v: %d transactions: %v", stays, r.Transactions, err)
		}
		for tid, want := range map[zodb.TID]bool{first: true, second: true, damaged: true, last: true} {
			_, err := s.Transaction(t.Context(), tid)
			if (err == nil) != want {
				t.Errorf("stays: %v: transaction %s: %v", stays, tid, err)
			}
		}
		if tx, err := s.Transaction(t.Context(), last); err != nil || tx.Previous >= last {
			t.Errorf("stays: %v: %+v, %v", stays, tx, err)
		}
		if r, err := s.Undelete(ctx, 0); err != nil || r.Transactions != 3 {
			t.Fatalf("stays: %v: %d transactions: %v", stays, r.Transactions, err)
		}
		n := 0
		for _, err := range s.TransactionsBackward(ctx, 0) {
			if n++; err != nil {
				t.Errorf("stays: %v: %v", stays, err)
			}
		}
		if n != 7 {
			t.Errorf("stays: %v: %d transactions, want 7", stays, n)
		}
	}
}

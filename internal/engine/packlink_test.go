package engine

import (
	"context"
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestPackPassesALinkThatDoesNotGoBackwards: no checksum covers which transaction one names as
// the one before. A pack does not go where a damaged name leads, to newer ones and round and
// round; it leaves that transaction, and goes on with the names of files. An undelete, which
// links all transactions, mends it.
func TestPackPassesALinkThatDoesNotGoBackwards(t *testing.T) {
	t.Parallel()
	for _, stays := range []bool{false, true} {
		s := packStorage(t, Options{}, "storage.delay_delete=864000")
		commit(t, s, change{oid: 0, data: rec("root", 1, 2, 3)}, change{oid: 1, data: rec("one")}, change{oid: 2, data: rec("two")}, change{oid: 3, data: rec("three")})
		first := s.LastTransaction()
		for range 3 {
			commit(t, s, change{oid: 2, data: rec("goes")})
		}
		commit(t, s, change{oid: 2, data: rec("goes")})
		second := s.LastTransaction()
		wrong := change{oid: 2, data: rec("goes, too")}
		if stays {
			wrong = change{oid: 3, data: rec("stays")}
		}
		commit(t, s, wrong)
		damaged := s.LastTransaction()
		commit(t, s, change{oid: 2, data: rec("current")}, change{oid: 0, data: rec("root", 1, 2, 3)})
		last := s.LastTransaction()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		path := fileOfA(t, s.Home(), layout.Transaction(damaged))
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

package metrics_test

import (
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/metrics"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestEngineIsSeen commits to a real storage and looks at all of its numbers.
func TestEngineIsSeen(t *testing.T) {
	t.Parallel()
	home := enginetest.Home(t, engine.CreateOptions{})
	set := metrics.New([]string{"main"}, metrics.Options{Clock: time.Now, NoRuntime: true})
	s := enginetest.Open(t, home, engine.Options{Observer: set.Storage("main")})
	set.Storage("main").Watch(metrics.Source{Status: s.Status, Backup: metrics.HomeBackup(osFS(t, home))})
	var last zodb.TID
	const transactions = 5
	for range transactions {
		oids, err := s.NewOIDs(1)
		if err != nil {
			t.Fatal(err)
		}
		last = enginetest.Commit(t, s, enginetest.Change{OID: oids[0], Data: enginetest.Record("")})
	}
	got := scrape(t, set)
	want(t, got, map[string]float64{
		`dirstorage_last_tid{storage="main"}`:                  float64(last),
		`dirstorage_synced_transactions_total{storage="main"}`: transactions,
		`dirstorage_fsync_seconds_count{storage="main"}`:       transactions,
		`dirstorage_objects{storage="main"}`:                   transactions,
		`dirstorage_transactions{storage="main"}`:              transactions,
		`dirstorage_read_only{storage="main"}`:                 0,
		`dirstorage_last_backup_tid{storage="main"}`:           0,
	})
	for _, name := range []string{"free_bytes", "journal_bytes", "bytes", "fsync_seconds_sum"} {
		if v, _ := number(t, got, `dirstorage_`+name+`{storage="main"}`); v <= 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
	at, _ := number(t, got, `dirstorage_last_transaction_timestamp_seconds{storage="main"}`)
	if d := time.Since(time.UnixMicro(int64(at * 1e6))); d < -time.Minute || d > time.Minute {
		t.Errorf("the last transaction was %s ago", d)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, scrape(t, set), map[string]float64{
		`dirstorage_flushed_transactions_total{storage="main"}`: transactions,
		`dirstorage_flush_seconds_count{storage="main"}`:        1,
		`dirstorage_unflushed_transactions{storage="main"}`:     0,
	})
}

// BenchmarkStatus is the question of a scrape to the engine, free space included.
func BenchmarkStatus(b *testing.B) {
	s := enginetest.Open(b, enginetest.Home(b, engine.CreateOptions{}), engine.Options{})
	for b.Loop() {
		s.Status()
	}
}

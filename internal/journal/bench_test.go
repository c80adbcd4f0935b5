package journal_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/zodb"
)

// BenchmarkCommit measures transactions of 5 records of 500 bytes, voted for by
// a number of goroutines and committed in groups by one, as the engine does.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			o := options(newHome(b))
			o.SegmentSize = 0
			l, _ := open(b, o)
			type request struct {
				p    *journal.Pending
				done chan struct{}
			}
			queue := make(chan request, writers)
			var ended sync.WaitGroup
			ended.Go(func() {
				var last zodb.TID
				for q := range queue {
					batch := []request{q}
					for more := true; more; {
						select {
						case q, ok := <-queue:
							if more = ok; ok {
								batch = append(batch, q)
							}
						default:
							more = false
						}
					}
					var records []journal.CommitRecord
					for _, q := range batch {
						records = append(records, journal.CommitRecord{Txn: q.p, TID: last + 1, Previous: last})
						last++
					}
					if err := l.Commit(records); err != nil {
						b.Error(err)
					}
					for _, r := range records {
						if err := l.Release(r.TID); err != nil {
							b.Error(err)
						}
					}
					for _, q := range batch {
						close(q.done)
					}
				}
			})
			w := txn(1, 500, 500, 500, 500, 500)
			before := l.Stats().Syncs
			var mu sync.Mutex
			n, over := 0, false
			next := func() bool {
				mu.Lock()
				defer mu.Unlock()
				if over = over || !b.Loop(); !over {
					n++
				}
				return !over
			}
			var wait sync.WaitGroup
			for range writers {
				wait.Go(func() {
					for next() {
						p := w.pending()
						if err := l.Append(p); err != nil {
							b.Error(err)
							return
						}
						done := make(chan struct{})
						queue <- request{p, done}
						<-done
					}
				})
			}
			wait.Wait()
			close(queue)
			ended.Wait()
			b.ReportMetric(float64(l.Stats().Syncs-before)/float64(n), "fsyncs/txn")
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "txn/s")
			b.SetBytes(5 * 500)
		})
	}
}

// BenchmarkOpen measures recovery of a log of 64 MiB.
func BenchmarkOpen(b *testing.B) {
	o := options(newHome(b))
	o.SegmentSize, o.Sync = 0, false
	l, _ := open(b, o)
	const txns, size = 6400, 10 << 10
	for tid := zodb.TID(1); tid <= txns; tid++ {
		put(b, l, txn(tid, size))
	}
	closeLog(b, l)
	b.SetBytes(txns * size)
	for b.Loop() {
		r, found, err := journal.OpenReadOnly(o)
		if err != nil || len(found.Transactions) != txns {
			b.Fatal(len(found.Transactions), err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

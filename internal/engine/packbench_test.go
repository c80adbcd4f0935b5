package engine_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

var packObjects = flag.Int("pack-objects", 1_000_000, "so many objects has the storage that BenchmarkPack packs")

// BenchmarkPack makes a storage in which a fifth of the objects is unreachable and
// a tenth of the others has an old revision, and packs it while one writer commits
// and two readers load; records of 700 bytes, everything synced:
//
//	go test -run '^$' -bench 'BenchmarkPack$' -benchtime 1x -timeout 2h .
func BenchmarkPack(b *testing.B) {
	for range b.N {
		s, _ := engine.NewBenchStorageWith(b, map[string]string{"storage.min_pack_time": "0"}, engine.Options{CacheSize: -1})
		total := *packObjects
		reachable := total * 4 / 5
		b.StopTimer()
		makePackable(b, s, total, reachable)
		idle := measureLoads(b, s, reachable, func() { time.Sleep(10 * time.Second) })
		commits := newPaced(s, reachable)
		var r zodb.PackResult
		var took time.Duration
		peak := watchHeap()
		b.StartTimer()
		during := measureLoads(b, s, reachable, func() {
			begun := time.Now()
			var err error
			if r, err = s.Pack(b.Context(), zodb.PackOptions{Time: time.Now().Add(-time.Second), References: true}); err != nil {
				b.Fatal(err)
			}
			took = time.Since(begun)
		})
		b.StopTimer()
		heap, base := peak()
		latencies := commits.end()
		if r.Objects < int64(total-reachable)*9/10 {
			b.Fatalf("only %d objects were removed", r.Objects)
		}
		b.ReportMetric(float64(total)/took.Seconds(), "objects/s")
		b.ReportMetric(took.Seconds(), "s")
		b.ReportMetric(float64(heap-base)/1e6, "MB-more-heap")
		b.ReportMetric(float64(r.Revisions), "revisions-removed")
		report := func(name string, d []time.Duration) {
			b.ReportMetric(float64(quantile(d, 0.5).Microseconds()), name+"-p50-µs")
			b.ReportMetric(float64(quantile(d, 0.99).Microseconds()), name+"-p99-µs")
		}
		report("load-before", idle)
		report("load-during", during)
		report("commit-during", latencies)
		b.ReportMetric(float64(slices.Max(latencies).Milliseconds()), "commit-max-ms")
	}
}

// makePackable makes a tree, the children before their parents, garbage beside
// it, and new revisions of a tenth.
func makePackable(b *testing.B, s *engine.Storage, total, reachable int) {
	b.Helper()
	if _, err := s.NewOIDs(total); err != nil {
		b.Fatal(err)
	}
	const children = 100
	record := func(i int) []byte {
		var refs []zodb.OID
		for c := i*children + 1; i < reachable && c <= (i+1)*children && c < reachable; c++ {
			refs = append(refs, zodb.OID(c))
		}
		return pickletest.Record(fmt.Sprintf("%0650d", i), refs...)
	}
	var changes []enginetest.Change
	put := func(i int) {
		if changes = append(changes, enginetest.Change{OID: zodb.OID(i), Data: record(i)}); len(changes) == 1000 || i == 0 {
			enginetest.Commit(b, s, changes...)
			changes = changes[:0]
		}
	}
	for i := total - 1; i >= 0; i-- {
		put(i)
	}
	for i := reachable / 10; i >= 0; i-- {
		put(i * 10)
	}
	for range 3 {
		enginetest.Commit(b, s, enginetest.Change{OID: 0, Data: record(0)})
	}
	if err := s.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// measureLoads loads random objects, from two goroutines, while f runs.
func measureLoads(b *testing.B, s *engine.Storage, n int, f func()) []time.Duration {
	b.Helper()
	stop := make(chan struct{})
	var wait sync.WaitGroup
	took := make([][]time.Duration, 2)
	for i := range took {
		wait.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 3))
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond): // some hundreds a second, as a site with caches has
				}
				begun := time.Now()
				if _, err := s.Load(b.Context(), zodb.OID(rnd.IntN(n))); err != nil {
					b.Error(err)
					return
				}
				took[i] = append(took[i], time.Since(begun))
			}
		})
	}
	f()
	close(stop)
	wait.Wait()
	return slices.Concat(took...)
}

// paced commits about 50 transactions a second.
type paced struct {
	stop chan struct{}
	wait sync.WaitGroup
	took []time.Duration
}

func newPaced(s *engine.Storage, n int) *paced {
	p := &paced{stop: make(chan struct{})}
	p.wait.Go(func() {
		rnd := rand.New(rand.NewPCG(9, 9))
		for {
			select {
			case <-p.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			begun := time.Now()
			oid := zodb.OID(n/2 + rnd.IntN(n/2)) // a leaf
			if _, err := enginetest.TryCommit(s, zodb.TxnMeta{}, enginetest.Change{OID: oid, Data: benchData(1)}); err != nil {
				panic(err)
			}
			p.took = append(p.took, time.Since(begun))
		}
	})
	return p
}

func (p *paced) end() []time.Duration {
	close(p.stop)
	p.wait.Wait()
	return p.took
}

// watchHeap returns a function that tells the largest heap since, and the one
// that there was before, in bytes.
func watchHeap() func() (peak, base uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	base, peak := m.HeapAlloc, m.HeapAlloc
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}()
	return func() (uint64, uint64) { close(stop); <-ended; return peak, base }
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	d = slices.Sorted(slices.Values(d))
	return d[int(q*float64(len(d)-1))]
}

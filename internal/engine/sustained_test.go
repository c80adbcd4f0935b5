package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// The load of BenchmarkSustained.
var (
	sustainedSeconds = flag.Int("seconds", 10, "how long BenchmarkSustained commits")
	sustainedWriters = flag.Int("writers", 8, "so many writers")
	sustainedObjects = flag.Int("objects", 100_000, "they change random ones of so many objects, each writer his own; 0 = each transaction makes new ones")
	sustainedEach    = flag.Int("each", 5, "objects a transaction")
	sustainedSize    = flag.Int("size", 800, "bytes a record")
	sustainedRate    = flag.Int("rate", 0, "transactions a second that are asked for, over all writers; 0 = as many as there can be")
	sustainedSet     = flag.String("set", "", "settings of the storage, section.option=value, with commas between them")
)

// BenchmarkSustained commits for a while, with everything durable, and tells the
// rate of each second and the latencies from begin to finish:
//
//	go test -run '^$' -bench Sustained -benchtime 1x -seconds 60 .
func BenchmarkSustained(b *testing.B) {
	for range b.N {
		o := &observed{}
		set := make(map[string]string)
		for one := range strings.SplitSeq(*sustainedSet, ",") {
			if key, value, ok := strings.Cut(one, "="); ok {
				set[key] = value
			}
		}
		s, _ := newBenchStorageWith(b, set, Options{Observer: o})
		if err := s.WaitNormal(b.Context()); err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		end := begun.Add(time.Duration(*sustainedSeconds) * time.Second)
		took := make([][]sample, *sustainedWriters)
		errs := make([]error, *sustainedWriters)
		var wg sync.WaitGroup
		for w := range took {
			wg.Go(func() { took[w], errs[w] = sustain(s, w, begun, end) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			b.Fatal(err)
		}
		reportSustained(b, slices.Concat(took...))
		o.mu.Lock()
		b.Logf("%d group commits, mean %v; %d flushes, mean %v, of %d transactions", o.syncs, (o.syncTime / time.Duration(max(1, o.syncs))).Round(time.Microsecond),
			o.flushes, (o.flushTime / time.Duration(max(1, o.flushes))).Round(time.Millisecond), o.transactions/max(1, o.flushes))
		o.mu.Unlock()
		b.StopTimer()
		if err := s.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// sample is one commit.
type sample struct {
	at   time.Duration // when it ended, since the begin
	took time.Duration
}

func sustain(s *Storage, w int, begun, end time.Time) ([]sample, error) {
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(uint64(w), 1))
	serials := make(map[zodb.OID]zodb.TID)
	mine := *sustainedObjects / *sustainedWriters
	made := 0
	data := rec(strings.Repeat("x", max(0, *sustainedSize-len(rec("")))))
	var list []sample
	for n := 0; ; n++ {
		now := time.Now()
		if *sustainedRate > 0 {
			due := begun.Add(time.Duration(n) * time.Second * time.Duration(*sustainedWriters) / time.Duration(*sustainedRate))
			if wait := due.Sub(now); wait > 0 {
				time.Sleep(wait)
				now = time.Now()
			}
		}
		if now.After(end) {
			return list, nil
		}
		txn, err := s.txns.Begin(ctx, zodb.TxnMeta{User: []byte("bench"), Description: []byte("/some/path")}, zodb.BeginOptions{})
		if err != nil {
			return list, err
		}
		stored := make([]zodb.OID, 0, *sustainedEach)
		for len(stored) < *sustainedEach {
			i := made
			if mine > 0 {
				i = rnd.IntN(mine)
			}
			made++
			oid := zodb.OID(i**sustainedWriters + w)
			if slices.Contains(stored, oid) {
				continue
			}
			rnd.Uint64()
			copy(data[len(data)-40:], fmt.Sprintf("%016x", rnd.Uint64()))
			if err := txn.Store(oid, serials[oid], data); err != nil {
				return list, err
			}
			stored = append(stored, oid)
		}
		if err := txn.Vote(ctx); err != nil {
			return list, err
		}
		tid, err := txn.Finish(ctx, nil)
		if err != nil {
			return list, err
		}
		for _, oid := range stored {
			serials[oid] = tid
		}
		list = append(list, sample{time.Since(begun), time.Since(now)})
	}
}

func reportSustained(b *testing.B, all []sample) {
	slices.SortFunc(all, func(a, b sample) int { return int(a.at - b.at) })
	perSecond := make([]int, *sustainedSeconds+1)
	var gap time.Duration // between two commits of anybody
	took := make([]time.Duration, 0, len(all))
	over := 0
	for i, s := range all {
		perSecond[min(int(s.at/time.Second), *sustainedSeconds)]++
		if i > 0 {
			gap = max(gap, s.at-all[i-1].at)
		}
		if s.took > 250*time.Millisecond {
			over++
		}
		took = append(took, s.took)
	}
	slices.Sort(took)
	at := func(q float64) time.Duration {
		return took[min(len(took)-1, int(q*float64(len(took))))].Round(10 * time.Microsecond)
	}
	full := perSecond[:*sustainedSeconds]
	b.Logf("a second: %v", full)
	b.Logf("latency: p50 %v, p90 %v, p99 %v, p99.9 %v, max %v; longest time without a commit %v; %d over 250ms", at(.5), at(.9), at(.99), at(.999), took[len(took)-1].Round(10*time.Microsecond), gap.Round(10*time.Microsecond), over)
	b.ReportMetric(float64(len(all))/float64(*sustainedSeconds), "txn/s")
	b.ReportMetric(float64(slices.Min(full)), "min-txn/s")
	b.ReportMetric(float64(took[len(took)-1])/1e6, "max-ms")
	b.ReportMetric(float64(at(.99))/1e6, "p99-ms")
}

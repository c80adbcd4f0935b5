package metrics

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// loadBounds are for reading an object, which takes microseconds if the page
// cache has the file.
func loadBounds() []time.Duration {
	return []time.Duration{
		10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
		time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
		100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second,
	}
}

// writeBounds are for operations that wait for a disk, or for another transaction.
func writeBounds() []time.Duration {
	return []time.Duration{
		100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
		10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute,
	}
}

// histogram counts durations by size. Prometheus' own costs three times as much a call,
// and more if several cores call it; see BenchmarkObserve.
type histogram struct {
	bounds []time.Duration // ascending, each included in its bucket; never changed
	counts []atomic.Uint64 // one for each bound, and one for longer times
	sum    atomic.Int64    // nanoseconds
}

func newHistogram(bounds []time.Duration) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// observe counts a duration. One that is negative, as a clock that was set back
// gives it, counts as none.
func (h *histogram) observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// histogramValue is the state of a histogram at one moment.
type histogramValue struct {
	count   uint64
	seconds float64
	buckets map[float64]uint64 // cumulative, by upper bound in seconds
}

func (h *histogram) value() histogramValue {
	v := histogramValue{seconds: time.Duration(h.sum.Load()).Seconds(), buckets: make(map[float64]uint64, len(h.bounds))}
	for i, bound := range h.bounds {
		v.count += h.counts[i].Load()
		v.buckets[bound.Seconds()] = v.count
	}
	v.count += h.counts[len(h.bounds)].Load()
	return v
}

func (v histogramValue) metric(desc *prometheus.Desc, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstHistogram(desc, v.count, v.seconds, v.buckets, labels...)
}

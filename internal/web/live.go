package web

import (
	"context"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/metrics"
)

// sampleTime is the time between two samples, and keptSamples how many of them there are: memory
// for some minutes, however many look.
const (
	sampleTime  = time.Second
	keptSamples = 300
)

// Sample is the work of a storage within about a second. Times are in microseconds; -1 = there was
// nothing to measure.
type sample struct {
	Time        int64   `json:"t"` // milliseconds since 1970
	Loads       float64 `json:"loads"`
	Commits     float64 `json:"commits"` // a second, as the other rates
	Conflicts   float64 `json:"conflicts"`
	Aborts      float64 `json:"aborts"`
	Connections int64   `json:"connections"`
	Load50      float64 `json:"load50"` // half of the loads took no longer
	Load99      float64 `json:"load99"`
	Commit50    float64 `json:"commit50"`
	Commit99    float64 `json:"commit99"`
	Vote99      float64 `json:"vote99"`
	Sync99      float64 `json:"sync99"`
	Lock99      float64 `json:"lock99"` // of the votes that waited for locks
}

// numbered is a sample with its number, which grows by one with each.
type numbered struct {
	n int64
	sample
}

// track is the recent past of one storage.
type track struct {
	last    metrics.Totals
	lastAt  time.Time
	samples []numbered // the newest last
}

// live samples the counters of all storages, and hands the samples to those who look.
type live struct {
	o      Options
	stop   context.CancelFunc
	ended  chan struct{}
	closed chan struct{} // closed when streams have to end

	mu      sync.Mutex
	n       int64             // guarded by mu: the number of the last sample
	tracks  map[string]*track // guarded by mu
	changed chan struct{}     // guarded by mu: closed with the next sample
	streams int               // guarded by mu
}

func startLive(o Options) *live {
	ctx, stop := context.WithCancel(context.Background())
	l := &live{o: o, stop: stop, ended: make(chan struct{}), closed: make(chan struct{}), tracks: make(map[string]*track), changed: make(chan struct{})}
	go func() {
		defer close(l.ended)
		ticker := time.NewTicker(sampleTime)
		defer ticker.Stop()
		for {
			_ = shielded(o.Logger, l.take) // logged; the next sample may be right
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

func (l *live) close() {
	l.stop()
	<-l.ended
	close(l.closed)
}

// take adds a sample of each storage.
func (l *live) take() {
	now, storages := l.o.Clock(), l.o.Storages()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	there := make(map[string]bool)
	for _, st := range storages {
		if st.Metrics == nil {
			continue
		}
		there[st.Name] = true
		totals := st.Metrics.Totals()
		t := l.tracks[st.Name]
		if t == nil {
			l.tracks[st.Name] = &track{last: totals, lastAt: now}
			continue
		}
		if d := now.Sub(t.lastAt); d > 0 {
			if len(t.samples) == keptSamples {
				t.samples = append(t.samples[:0], t.samples[1:]...)
			}
			t.samples = append(t.samples, numbered{l.n, between(t.last, totals, d, now)})
		}
		t.last, t.lastAt = totals, now
	}
	for name := range l.tracks {
		if !there[name] {
			delete(l.tracks, name)
		}
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// after returns the samples of a storage that are newer than one, and a channel that is closed when
// there are more.
func (l *live) after(storage string, n int64) ([]numbered, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var newer []numbered
	if t := l.tracks[storage]; t != nil {
		for _, s := range t.samples {
			if s.n > n {
				newer = append(newer, s)
			}
		}
	}
	return newer, l.changed
}

// between is the work from one reading of the counters to a later one.
func between(a, b metrics.Totals, d time.Duration, now time.Time) sample {
	rate := func(n uint64) float64 { return float64(n) / d.Seconds() }
	load, commit := grown(a.Load, b.Load), grown(a.Commit, b.Commit)
	return sample{
		Time:  now.UnixMilli(),
		Loads: rate(total(load)), Commits: rate(total(commit)), Conflicts: rate(b.Conflicts - a.Conflicts), Aborts: rate(b.Aborts - a.Aborts),
		Connections: b.Connections,
		Load50:      quantile(b.Load.Bounds, load, 0.5), Load99: quantile(b.Load.Bounds, load, 0.99),
		Commit50: quantile(b.Commit.Bounds, commit, 0.5), Commit99: quantile(b.Commit.Bounds, commit, 0.99),
		Vote99: quantile(b.Vote.Bounds, grown(a.Vote, b.Vote), 0.99),
		Sync99: quantile(b.Sync.Bounds, grown(a.Sync, b.Sync), 0.99),
		Lock99: quantile(b.LockWait.Bounds, grown(a.LockWait, b.LockWait), 0.99),
	}
}

func grown(a, b metrics.Timings) []uint64 {
	counts := make([]uint64, len(b.Counts))
	for i, n := range b.Counts {
		counts[i] = n
		if i < len(a.Counts) {
			counts[i] -= a.Counts[i]
		}
	}
	return counts
}

func total(counts []uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// quantile is the time in microseconds that a part of the durations did not exceed, by a straight
// line through the bucket in which it is; of those beyond the last bound that bound. -1 = there are none.
func quantile(bounds []time.Duration, counts []uint64, part float64) float64 {
	all := total(counts)
	if all == 0 {
		return -1
	}
	rank, below := part*float64(all), 0.0
	lower := time.Duration(0)
	for i, bound := range bounds {
		n := float64(counts[i])
		if n > 0 && below+n >= rank {
			return (float64(lower) + float64(bound-lower)*(rank-below)/n) / float64(time.Microsecond)
		}
		below += n
		lower = bound
	}
	return float64(lower) / float64(time.Microsecond)
}

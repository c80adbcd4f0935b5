package bench

import (
	"cmp"
	"slices"
	"time"
)

// Latency of operations. All are durations in nanoseconds.
type Latency struct {
	P50  time.Duration `json:"p50_ns"`
	P90  time.Duration `json:"p90_ns"`
	P99  time.Duration `json:"p99_ns"`
	P999 time.Duration `json:"p99_9_ns"`
	Max  time.Duration `json:"max_ns"`
}

// Result is one measurement, or the medians of several.
type Result struct {
	Name        string   `json:"name"`
	Connections int      `json:"connections"`
	Pipeline    int      `json:"pipeline,omitempty"` // loads that wait for an answer at once, of each connection
	Operations  int64    `json:"operations"`
	Seconds     float64  `json:"seconds"`
	Rate        float64  `json:"rate"`                  // operations a second
	Bytes       float64  `json:"bytes_per_second"`      // of records or blobs, a second
	Latency     Latency  `json:"latency"`               // of one operation
	Conflicts   int64    `json:"conflicts"`             // none is expected
	Stall       float64  `json:"longest_stall_seconds"` // the longest time in which no commit was finished on any connection
	Slowest     float64  `json:"slowest_second"`        // commits in the second with the fewest
	Runs        []Single `json:"runs,omitempty"`
}

// Single is the result of one of several runs.
type Single struct {
	Rate    float64 `json:"rate"`
	Latency Latency `json:"latency"`
	Stall   float64 `json:"longest_stall_seconds"`
	Slowest float64 `json:"slowest_second"`
}

func (h *histogram) latency() Latency {
	return Latency{P50: h.quantile(0.5), P90: h.quantile(0.9), P99: h.quantile(0.99), P999: h.quantile(0.999), Max: h.max}
}

// medians puts the runs of one measurement together, each number for itself.
func medians(runs []Result) Result {
	r := runs[0]
	if len(runs) == 1 {
		return r
	}
	r.Rate = median(runs, func(x Result) float64 { return x.Rate })
	r.Bytes = median(runs, func(x Result) float64 { return x.Bytes })
	r.Seconds = median(runs, func(x Result) float64 { return x.Seconds })
	r.Operations = median(runs, func(x Result) int64 { return x.Operations })
	r.Stall = median(runs, func(x Result) float64 { return x.Stall })
	r.Slowest = median(runs, func(x Result) float64 { return x.Slowest })
	r.Latency = Latency{
		P50:  median(runs, func(x Result) time.Duration { return x.Latency.P50 }),
		P90:  median(runs, func(x Result) time.Duration { return x.Latency.P90 }),
		P99:  median(runs, func(x Result) time.Duration { return x.Latency.P99 }),
		P999: median(runs, func(x Result) time.Duration { return x.Latency.P999 }),
		Max:  median(runs, func(x Result) time.Duration { return x.Latency.Max }),
	}
	r.Conflicts = 0
	for _, x := range runs {
		r.Conflicts += x.Conflicts
		r.Runs = append(r.Runs, Single{Rate: x.Rate, Latency: x.Latency, Stall: x.Stall, Slowest: x.Slowest})
	}
	return r
}

// median returns the middle one, the lower of two.
func median[T cmp.Ordered](runs []Result, of func(Result) T) T {
	values := make([]T, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

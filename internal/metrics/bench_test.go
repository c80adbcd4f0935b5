package metrics_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dirstorage/dirstorage/internal/metrics"
)

// durations are the usual times of loads.
func durations() []time.Duration {
	d := make([]time.Duration, 256)
	for i := range d {
		d[i] = time.Duration(i*i) * 100 * time.Nanosecond
	}
	return d
}

// BenchmarkObserve is the cost of one load: at 150,000 a second on two cores, 100 ns
// would be 0.75 % of the machine.
func BenchmarkObserve(b *testing.B) {
	s := metrics.New([]string{"main", "other"}, metrics.Options{Clock: time.Now})
	d := durations()
	b.Run("one", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			s.Loaded("main", d[i&255])
		}
	})
	b.Run("all cores", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				s.Loaded("main", d[i&255])
			}
		})
	})
	// The cost with the histogram of Prometheus.
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "load_seconds", Buckets: prometheus.ExponentialBuckets(1e-5, 2.5, 15)}, []string{"storage"})
	b.Run("client_golang, one", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			h.WithLabelValues("main").Observe(d[i&255].Seconds())
		}
	})
	b.Run("client_golang, all cores", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				h.WithLabelValues("main").Observe(d[i&255].Seconds())
			}
		})
	})
}

func BenchmarkScrape(b *testing.B) {
	h := filled(b).Handler()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		_, _ = io.Copy(io.Discard, w.Body)
	}
}

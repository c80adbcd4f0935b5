package web

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/dirstorage/dirstorage/internal/metrics"
)

// liveData is the page of live figures as it is without a stream.
type liveData struct {
	Time                              time.Time
	Loads, Commits, Conflicts, Aborts string
	Load50, Commit50                  string
	Connections                       int64
	Since                             []operation
}

// operation is what a kind of operations has taken since the start.
type operation struct {
	Name                string
	Count               uint64
	Average, Half, Most string
}

func (s *Site) livePage(_ context.Context, q *query) (any, error) {
	if q.storage.Metrics == nil {
		return nil, notFound("storage %s: it is not measured", safe(q.storage.Name, 100))
	}
	totals := q.storage.Metrics.Totals()
	d := liveData{Time: s.o.Clock(), Loads: "–", Commits: "–", Conflicts: "–", Aborts: "–", Load50: "–", Commit50: "–", Connections: totals.Connections}
	if recent, _ := s.live.after(q.storage.Name, 0); len(recent) > 0 {
		last := recent[len(recent)-1]
		d.Time = time.UnixMilli(last.Time)
		d.Loads, d.Commits, d.Conflicts, d.Aborts = perSecond(last.Loads), perSecond(last.Commits), perSecond(last.Conflicts), perSecond(last.Aborts)
		d.Load50, d.Commit50 = micros(last.Load50), micros(last.Commit50)
	}
	for _, o := range []struct {
		name string
		t    metrics.Timings
	}{
		{"load", totals.Load}, {"vote", totals.Vote}, {"commit", totals.Commit}, {"wait for locks, of votes that waited", totals.LockWait},
		{"sync of the log", totals.Sync}, {"flush", totals.Flush},
	} {
		n := total(o.t.Counts)
		op := operation{Name: o.name, Count: n, Average: "–", Half: micros(quantile(o.t.Bounds, o.t.Counts, 0.5)), Most: micros(quantile(o.t.Bounds, o.t.Counts, 0.99))}
		if n > 0 {
			op.Average = micros(float64(o.t.Sum) / float64(n) / float64(time.Microsecond))
		}
		d.Since = append(d.Since, op)
	}
	return d, nil
}

func perSecond(v float64) string {
	const whole = 100 // from here on a fraction says nothing
	if v >= whole {
		return fmt.Sprintf("%.0f/s", v)
	}
	return fmt.Sprintf("%.1f/s", v)
}

// micros prints microseconds with three digits, as the script of the page does.
func micros(v float64) string {
	const tenths, ms, s = 10, 1e3, 1e6
	switch {
	case v < 0:
		return "–"
	case v > 0 && v < 1/(2.0*tenths):
		return "< 0.1 µs"
	case v < tenths:
		return strconv.FormatFloat(math.Round(v*tenths)/tenths, 'f', -1, 64) + " µs"
	case v < ms:
		return fmt.Sprintf("%.0f µs", v)
	case v < s:
		return digits(v/ms) + " ms"
	}
	return digits(v/s) + " s"
}

func digits(v float64) string {
	const three, two, one = 100, 10, 1
	switch {
	case v >= three:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= two:
		return strconv.FormatFloat(v, 'f', one, 64)
	}
	return strconv.FormatFloat(v, 'f', one+1, 64)
}

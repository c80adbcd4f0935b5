package packing

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// estimate fills in the fields that follow from the others.
func estimate(g *zodb.PackProgress, now time.Time) {
	spent := now.Sub(g.Since).Seconds()
	if spent <= 0 || g.Done <= 0 {
		return
	}
	g.Rate = float64(g.Done) / spent
	g.LeftSeconds = float64(max(0, g.Total-g.Done)) / g.Rate
}

// progress is written by the pack and read by others.
type progress struct {
	s       *Packer
	begun   time.Time
	planned atomic.Int64 // entries of the plan
	done    atomic.Int64

	mu    sync.Mutex
	name  string    // guarded by mu
	since time.Time // guarded by mu
	total int64     // guarded by mu

	lacking string // guarded by mu; see persist

	dryRun, ignoreSpace bool // as in the options of the pack; false for others
	worthOnce           sync.Once
	worth               bool // see takesReserve; by worthOnce
}

func (p *progress) phase(name string, total int64) {
	now := p.s.o.Clock()
	p.mu.Lock()
	p.name, p.since, p.total = name, now, total
	p.done.Store(0)
	p.mu.Unlock()
	p.s.o.Log.Info("pack", "phase", name, "total", total)
}

// Progress returns how far the pack has come that is under way.
func (s *Packer) Progress() zodb.PackProgress {
	p := s.running.Load()
	if p == nil {
		return zodb.PackProgress{}
	}
	waiting := s.o.State.TaskWaits()
	p.mu.Lock()
	defer p.mu.Unlock()
	g := zodb.PackProgress{Phase: p.name, Since: p.since, Begun: p.begun, Done: p.done.Load(), Total: p.total, Waiting: waiting}
	if g.Waiting == "" {
		g.Waiting = p.lacking
	}
	estimate(&g, s.o.Clock())
	return g
}

// logged returns its attributes for the log.
func logged(g *zodb.PackProgress, now time.Time) []any {
	list := []any{"phase", g.Phase, "done", g.Done, "total", g.Total, "dur", now.Sub(g.Since), "rate", math.Round(g.Rate)}
	if g.Waiting != "" {
		list = append(list, "waiting", g.Waiting)
	}
	if g.LeftSeconds > 0 {
		list = append(list, "left", time.Duration(g.LeftSeconds*1e9).Round(time.Second))
	}
	return list
}

// packLogInterval is how often a pack says in the log how far it has come.
const packLogInterval = 30 * time.Second

// report puts a pack where it can be seen, until stop is called.
func (s *Packer) report() (p *progress, stop func()) {
	p = &progress{s: s, begun: s.o.Clock()}
	s.running.Store(p)
	end := make(chan struct{})
	go func() {
		tick := time.NewTicker(packLogInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				g := s.Progress()
				s.o.Log.Info("pack", logged(&g, s.o.Clock())...)
			case <-end:
				return
			}
		}
	}()
	return p, func() {
		close(end)
		s.running.Store(nil)
	}
}

// watch shows how many objects are marked.
func (r *packRun) watch() (stop func()) {
	end := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n, _ := r.marker.Counts()
				r.p.done.Store(n)
			case <-end:
				return
			}
		}
	})
	return func() { close(end); wait.Wait() }
}

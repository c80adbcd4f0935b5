package metrics

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// HomeJobs returns a function that reads the records of the jobs in a HOME.
func HomeJobs(home vfs.FS, identity string) func() ([]runs.State, error) {
	return jobsIn(home, runs.InHome, identity, runs.OfHome()...)
}

// RepositoryJobs returns a function that reads the record of the job in a repository of backups, the
// verification.
func RepositoryJobs(repository vfs.FS) func() ([]runs.State, error) {
	return jobsIn(repository, runs.InRepository, "", runs.Verify)
}

func jobsIn(f vfs.FS, dir, identity string, jobs ...runs.Job) func() ([]runs.State, error) {
	return func() (list []runs.State, err error) {
		for _, job := range jobs {
			s, rerr := runs.Read(f, dir, job, identity)
			if rerr = errors.Join(rerr, s.Damaged); rerr != nil {
				err = errors.Join(err, fmt.Errorf("record of the job %s: %w", job, rerr))
				continue
			}
			list = append(list, s)
		}
		return list, err
	}
}

// jobsCache reads the records now and then.
type jobsCache struct {
	read    func() ([]runs.State, error) // nil: nothing to show
	keep    time.Duration
	storage *Storage

	mu    sync.Mutex
	until time.Time    // guarded by mu; zero: never read
	list  []runs.State // guarded by mu
	told  string       // guarded by mu: the last error
}

func (c *jobsCache) get() []runs.State {
	if c.read == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.storage.o.Clock()
	if c.until.IsZero() || !now.Before(c.until) || c.until.Sub(now) > c.keep {
		list, err := c.read()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != "" && text != c.told {
			c.storage.o.Logger.Warn("records of jobs are not known", "storage", c.storage.name, "err", err)
		}
		c.list, c.told, c.until = list, text, now.Add(c.keep)
	}
	return c.list
}

// jobGauges are about the records of jobs.
type jobGauges struct {
	last, good, failed, lastCheck, damage *prometheus.Desc
}

func newJobGauges() jobGauges {
	return jobGauges{
		last:      ofStorage("last_run_timestamp_seconds", "When the last run of a job ended, or began if it was interrupted.", "run"),
		good:      ofStorage("last_good_run_timestamp_seconds", "When the last run of a job that did its work ended; 0 if none is recorded.", "run"),
		failed:    ofStorage("last_run_failed", "1 if the last run of a job did not do its work, or was interrupted.", "run"),
		lastCheck: ofStorage("last_check_timestamp_seconds", "When the last check that came to everything ended; 0 if none is recorded."),
		damage:    ofStorage("check_damage", "Findings of damage of a check, backup, pack or reclaim, but dangling references, until a later check of everything has none."),
	}
}

func (g *jobGauges) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.last, g.good, g.failed, g.lastCheck, g.damage} {
		ch <- d
	}
}

func (g *jobGauges) collect(list []runs.State, one func(desc *prometheus.Desc, value float64, labels ...string)) {
	for _, s := range list {
		good := 0.0
		if s.Good != nil {
			good = seconds(s.Good.Ended)
		}
		if s.Job == runs.Check {
			one(g.lastCheck, good)
			one(g.damage, float64(s.Damage.Broken()))
		}
		at := time.Time{}
		switch {
		case s.Interrupted():
			at = s.Begun.Time
		case s.Last != nil:
			at = s.Last.Ended
		default:
			continue
		}
		one(g.last, seconds(at), string(s.Job))
		one(g.good, good, string(s.Job))
		one(g.failed, oneIf(s.Interrupted() || s.Last.Failed != ""), string(s.Job))
	}
}

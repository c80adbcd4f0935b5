package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// servedStorage is a storage of the server. Packs that clients ask for leave a record, as those of the
// command do, which records its own.
type servedStorage struct {
	*engine.Storage
	s    *serving
	name string
	home vfs.FS
	// unkept is why there is no room for records of damage; nil: there is.
	unkept error
}

// Pack packs, and records the run.
func (p *servedStorage) Pack(ctx context.Context, o zodb.PackOptions) (zodb.PackResult, error) {
	if o.DryRun {
		return p.Storage.Pack(ctx, o)
	}
	record := p.s.e.recordWith(p.home, runs.Pack, p)
	r, err := p.Storage.Pack(ctx, o)
	result := runs.Result{Check: brokenObjects(&r)}
	if result.Check != nil && err == nil {
		record.end(result, &status{code: exitDamage, err: cannotBeRead(&r, p.home.Path("."))})
		return r, err
	}
	record.end(result, err)
	return r, err
}

// warn tells why there is no record.
func (p *servedStorage) warn(text string) { p.s.log.Warn(text, "storage", p.name) }

// lost remembers damage that could not be recorded.
func (p *servedStorage) lost(damage *runs.Run, err error) {
	p.s.log.Error("damage was found, and cannot be recorded", "storage", p.name, "err", err)
	p.s.remember(p.name, damage)
}

// metEvery is how often a server remembers damage that reads for clients meet: a later one counts behind a
// check that was clean meanwhile.
const metEvery = time.Minute

// met remembers damage that a request of a client met.
func (s *serving) met(storage string, err error) {
	if _, ok := errors.AsType[*zodb.CorruptError](err); !ok || !isDamage(err) {
		return
	}
	now := s.e.Now()
	if old := s.found.of(storage); old != nil && now.Sub(old.Ended).Abs() < metEvery {
		return
	}
	text := shortened(err.Error())
	s.remember(storage, &runs.Run{Began: now, Ended: now, Program: buildInfo().Version, Job: runs.Reading,
		Result: runs.Result{Failed: text, Damaged: true, Check: &runs.Checked{Extent: runs.Part, Damage: 1, First: []string{text}}}})
}

// remember keeps damage until a check is clean, or the server ends.
func (s *serving) remember(storage string, damage *runs.Run) {
	if old := s.found.of(storage); old != nil && old.Failed == damage.Failed {
		s.found.add(storage, damage) // the log has it
		return
	}
	s.log.Error("damage is remembered that is in no record: only this process knows it", slog.String("storage", storage),
		"job", damage.FoundBy(), "findings", damage.Broken(), "err", damage.Failed)
	s.found.add(storage, damage)
}

// foundDamage is damage that is in no record, of each storage the first.
type foundDamage struct {
	mu sync.Mutex
	by map[string]*runs.Run // guarded by mu; the runs are never changed
}

func (f *foundDamage) add(storage string, damage *runs.Run) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = make(map[string]*runs.Run)
	}
	f.by[storage] = damage
}

// of returns that of a storage; nil: there is none.
func (f *foundDamage) of(storage string) *runs.Run {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.by[storage]
}

// among adds remembered damage to the records of jobs, unless they have some.
func (f *foundDamage) among(storage string, list []runs.State) []runs.State {
	damage := f.of(storage)
	if damage == nil {
		return list
	}
	list = slices.Clone(list)
	i := slices.IndexFunc(list, func(s runs.State) bool { return s.Job == runs.Check })
	if i < 0 {
		i = len(list)
		list = append(list, runs.State{Job: runs.Check})
	}
	if r := &list[i].Record; r.Damage.Broken() == 0 && damage.Stands(r) {
		r.Damage = damage
	}
	return list
}

// brokenObjects is the damage that a pack met and passed over; nil: none.
func brokenObjects(r *zodb.PackResult) *runs.Checked {
	if r.Broken == 0 {
		return nil
	}
	c := &runs.Checked{Extent: runs.Part, Damage: r.Broken}
	for _, b := range r.BrokenList[:min(len(r.BrokenList), firstFindings)] {
		c.First = append(c.First, shortened(fmt.Sprintf("object %s: %s", b.OID, b.Reason)))
	}
	return c
}

// cannotBeRead tells the number of those objects.
func cannotBeRead(r *zodb.PackResult, home string) error {
	return hint(fmt.Errorf("cannot be read: %s", human.Number(r.Broken, "object")), "dirstorage check %s shows the damage", shellWord(home))
}

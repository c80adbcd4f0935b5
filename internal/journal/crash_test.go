package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// model is the required contents of a log.
type model struct {
	kept     []*want // acknowledged, oldest first, and not released
	released map[zodb.TID]*want
	doubtful []*want // in a batch whose commit failed
	last     zodb.TID
	made     int // makes the content of each transaction different
	open     []*journal.Pending
}

func newModel() *model { return &model{released: make(map[zodb.TID]*want)} }

// verify checks the transactions that Open found, and takes them for the truth.
func (m *model) verify(r entryReader, found *journal.Recovered) error {
	var expected []*want
	for _, c := range found.Transactions {
		w := m.released[c.TID]
		if w == nil {
			break
		}
		expected = append(expected, w)
	}
	expected = append(expected, m.kept...)
	extra := len(found.Transactions) - len(expected)
	if extra < 0 || extra > len(m.doubtful) {
		extra = 0 // compare will tell
	}
	expected = append(expected, m.doubtful[:extra]...)
	if err := compare(r, found, expected...); err != nil {
		return err
	}
	if found.Freed != 0 && m.released[found.Freed] == nil {
		return fmt.Errorf("transaction %s is said to be freed", found.Freed)
	}
	return nil
}

// adopt takes over the transactions that Open found.
func (m *model) adopt(found *journal.Recovered) {
	m.kept = append(m.kept, m.doubtful...)
	m.doubtful = nil
	n := 0 // of those that are kept and were found
	for _, c := range found.Transactions {
		if m.released[c.TID] == nil {
			n++
			m.last = c.TID
		}
	}
	m.kept = m.kept[:n]
}

// next makes a transaction that follows the last one.
func (m *model) next(rnd *rand.Rand, maxLen int) *want {
	m.made++
	w := anyTxn(rnd, m.last+1, maxLen)
	w.meta.Description = fmt.Appendf(nil, "content %d", m.made)
	for i := range w.data {
		copy(w.data[i], fmt.Sprintf("content %d of record %d", m.made, i))
	}
	return w
}

// step does one thing that an engine does, and notes the required outcome.
func (m *model) step(rnd *rand.Rand, l *journal.Log, maxLen int) error {
	switch n := rnd.IntN(10); {
	case n < 6:
		return m.commit(rnd, l, maxLen)
	case n < 7:
		p := m.next(rnd, maxLen).pending()
		err := l.Append(p)
		l.Abort(p)
		return err
	default:
		return m.release(l, rnd.IntN(len(m.kept)+1))
	}
}

// release releases the n oldest.
func (m *model) release(l *journal.Log, n int) error {
	for ; n > 0; n-- {
		w := m.kept[0]
		m.kept = m.kept[1:]
		m.released[w.tid] = w
		if err := l.Release(w.tid); err != nil {
			return err
		}
	}
	return nil
}

// commit commits a batch, one of whose transactions may stay open.
func (m *model) commit(rnd *rand.Rand, l *journal.Log, maxLen int) error {
	var batch []journal.CommitRecord
	var txns []*want
	last := m.last
	for range 1 + rnd.IntN(3) {
		w := m.next(rnd, maxLen)
		p := w.pending()
		if err := l.Append(p); err != nil {
			return err
		}
		if rnd.IntN(6) == 0 {
			m.open = append(m.open, p)
			continue
		}
		w.previous, w.tid = last, last+1
		last = w.tid
		txns, batch = append(txns, w), append(batch, w.record(p))
	}
	if err := l.Commit(batch); err != nil {
		m.doubtful = txns
		return err
	}
	m.kept = append(m.kept, txns...)
	m.last = last
	return nil
}

// run opens a log and uses it. It returns the first error.
func (m *model) run(rnd *rand.Rand, o journal.Options, steps, maxLen int) error {
	l, found, err := journal.Open(o)
	if err != nil {
		return err
	}
	if err := m.verify(l, found); err != nil {
		return &modelError{err}
	}
	m.adopt(found)
	m.open = nil
	for _, c := range found.Transactions {
		if m.released[c.TID] != nil {
			if err := l.Release(c.TID); err != nil {
				return errors.Join(err, l.Close())
			}
		}
	}
	for range steps {
		if err := m.step(rnd, l, maxLen); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	if rnd.IntN(3) > 0 {
		return l.Close()
	}
	for _, p := range m.open {
		l.Abort(p)
	}
	if err := m.release(l, len(m.kept)); err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(l.Clean(), l.Close())
}

// modelError tells that the log is wrong, and not that it met an error.
type modelError struct{ err error }

func (e *modelError) Error() string { return e.err.Error() }

// crashHome returns a home in memory.
func crashHome(tb testing.TB, seed int64) *crashfs.FS {
	tb.Helper()
	f := crashfs.New(seed)
	if err := errors.Join(f.Mkdir(testDir), f.SyncDir(".")); err != nil {
		tb.Fatal(err)
	}
	return f
}

// modes are the ways in which a crash treats effects that are not durable.
func modes(seed int64) []crashfs.Mode {
	list := []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll}
	for i := range int64(8) {
		list = append(list, crashfs.Random(uint32(seed+1000*i)))
	}
	return list
}

// scenario is a fixed sequence of two runs.
func scenario(m *model, f *crashfs.FS, seed uint64) error {
	rnd := rand.New(rand.NewPCG(seed, 7))
	for range 2 {
		if err := m.run(rnd, options(f), 12, 1300); err != nil {
			return err
		}
	}
	return nil
}

func TestCommittedSurvivesACrashAtEveryOperation(t *testing.T) {
	t.Parallel()
	names := []string{"seed 1", "seed 2", "seed 3"}
	ops := faulttest.SampledOf(t, hometest.OneOf(1, 5, 23), hometest.Phase(t), names, func(t *testing.T, c int, at faulttest.Nth, n int) (log []string, came bool) {
		seed := int64(c + 1)
		f := crashHome(t, seed)
		first := f.Ops()
		cut := faulttest.CutBefore(f, at)
		m := newModel()
		err := scenario(m, f, uint64(seed))
		if came = cut.Load(); came != errors.Is(err, crashfs.ErrCrashed) || !came && err != nil {
			t.Fatalf("crash before %v: %v", at, err)
		}
		for i, mode := range modes(seed + int64(n)) {
			if err := m.survives(f, mode, n, i < 4); err != nil {
				t.Fatalf("crash before %v, %v: %v\noperations:\n%s", at, mode, err, strings.Join(f.Log(), "\n"))
			}
		}
		return f.Log()[first:], came
	})
	t.Logf("%d operations", ops)
}

// survives checks one way in which a crash may turn out; again: with crashes at the operations of the recovery, too.
func (m *model) survives(f *crashfs.FS, mode crashfs.Mode, n int, again bool) error {
	after := f.Crashed(mode)
	if err := m.copy().reopen(after); err != nil || !again {
		return err
	}
	recovery := faulttest.NewRuns(after.Log())
	for _, k := range recovery.Sample(hometest.OneOf(1, 2, 4), n)[0] {
		again, at := f.Crashed(mode), recovery.Nth(0, k)
		faulttest.CutBefore(again, at)
		m := m.copy()
		if err := m.reopen(again); !errors.Is(err, crashfs.ErrCrashed) {
			return fmt.Errorf("crash in recovery before %v: %w", at, err)
		}
		if err := m.reopen(again.Crashed(crashfs.Random(uint32(k + n)))); err != nil {
			return fmt.Errorf("after a crash in recovery before %v: %w\n%s", at, err, strings.Join(again.Log(), "\n"))
		}
	}
	return nil
}

func (m *model) copy() *model {
	c := *m
	c.kept, c.doubtful = slices.Clone(m.kept), slices.Clone(m.doubtful)
	return &c
}

// reopen checks the log after a crash, commits one more transaction, and checks again.
func (m *model) reopen(f *crashfs.FS) error {
	o := options(f)
	l, found, err := journal.Open(o)
	if err != nil {
		return err
	}
	if err := m.verify(l, found); err != nil {
		return err
	}
	m.adopt(found)
	w := m.next(rand.New(rand.NewPCG(1, 1)), 500)
	w.previous = m.last
	m.doubtful = []*want{w}
	if err := tryPut(l, w); err != nil {
		return errors.Join(err, l.Close())
	}
	m.kept, m.doubtful = append(m.kept, w), nil
	if err := l.Close(); err != nil {
		return err
	}
	r, found, err := journal.OpenReadOnly(o)
	if err != nil {
		return err
	}
	return errors.Join(m.verify(r, found), r.Close())
}

// Segments are used again and again, with crashes at random, and nothing old
// comes back.
func TestRecycledSegmentsNeverBringOldFramesBack(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 8; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 2))
			m := newModel()
			f := crashHome(t, int64(seed))
			crashes := 0
			for cycle := range 150 {
				if rnd.IntN(4) > 0 {
					f.CrashAt(f.Ops() + 1 + rnd.IntN(60))
				}
				err := m.run(rnd, options(f), 5+rnd.IntN(20), 200+rnd.IntN(3000))
				if err == nil {
					continue
				}
				if _, wrong := errors.AsType[*modelError](err); wrong || !errors.Is(err, crashfs.ErrCrashed) {
					t.Fatalf("seed %d, cycle %d: %v\noperations:\n%s", seed, cycle, err, strings.Join(f.Log(), "\n"))
				}
				crashes++
				f = f.Crashed(crashfs.Random(rnd.Uint32()))
			}
			t.Logf("%d crashes, %d transactions", crashes, m.last)
			if crashes < 20 || m.last < 100 {
				t.Errorf("%d crashes and %d transactions show nothing", crashes, m.last)
			}
		})
	}
}

// The death of the process loses nothing, with Sync off as well.
func TestUnsyncedLogSurvivesTheDeathOfTheProcess(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 5))
	m := newModel()
	f := crashHome(t, 5)
	o := options(f)
	o.Sync = false
	for cycle := range 60 {
		f.CrashAt(f.Ops() + 1 + rnd.IntN(60))
		err := m.run(rnd, o, 20, 1500)
		if _, wrong := errors.AsType[*modelError](err); wrong || err != nil && !errors.Is(err, crashfs.ErrCrashed) {
			t.Fatalf("cycle %d: %v", cycle, err)
		}
		f = f.Crashed(crashfs.KeepAll)
		o.FS = f
	}
	if m.last < 50 {
		t.Errorf("only %d transactions", m.last)
	}
}

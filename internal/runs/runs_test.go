package runs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
)

// clock goes on by a second at each look.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at.IsZero() {
		c.at = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	}
	c.at = c.at.Add(time.Second)
	return c.at
}

func place(t *testing.T) *crashfs.FS {
	t.Helper()
	f := crashfs.New(1)
	if err := errors.Join(f.Mkdir("misc"), f.SyncDir(".")); err != nil {
		t.Fatal(err)
	}
	return f
}

func options(f vfs.FS, c *clock, job runs.Job) runs.Options {
	return runs.Options{FS: f, Dir: runs.InHome, Job: job, Identity: "0123", Program: "1.0", PID: 7, Now: c.now}
}

func read(t *testing.T, f vfs.FS, job runs.Job) runs.State {
	t.Helper()
	s, err := runs.Read(f, runs.InHome, job, "0123")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do makes one run.
func do(t *testing.T, o runs.Options, r runs.Result) {
	t.Helper()
	w, err := runs.Begin(o)
	if err = errors.Join(err, w.End(r)); err != nil {
		t.Fatal(err)
	}
}

func checked(e runs.Extent, complete bool, damage int64, first ...string) runs.Result {
	return runs.Result{Check: &runs.Checked{Extent: e, Complete: complete, Damage: damage, First: first}}
}

// dangling is a check to its end, with findings of damage of which some are about references.
func dangling(e runs.Extent, damage, references int64) runs.Result {
	r := checked(e, true, damage)
	r.Check.Dangling = references
	return r
}

func TestRunsAreRecorded(t *testing.T) {
	t.Parallel()
	f, c := place(t), new(clock)
	if s := read(t, f, runs.Backup); s.Begun != nil || s.Last != nil || s.Running || s.Damaged != nil {
		t.Errorf("without a record: %+v", s)
	}
	o := options(f, c, runs.Backup)
	w, err := runs.Begin(o)
	if err != nil {
		t.Fatal(err)
	}
	if s := read(t, f, runs.Backup); s.Begun == nil || !s.Running || s.Interrupted() || s.Begun.PID != 7 || s.Last != nil {
		t.Errorf("while it runs: %+v", s)
	}
	if err := w.End(runs.Result{}); err != nil {
		t.Fatal(err)
	}
	s := read(t, f, runs.Backup)
	if s.Begun != nil || s.Running || s.Last == nil || s.Good == nil || s.Good.Program != "1.0" || !s.Good.Ended.After(s.Good.Began) {
		t.Errorf("after it: %+v", s)
	}
	do(t, o, runs.Result{Failed: "no room"})
	if s := read(t, f, runs.Backup); s.Last.Failed != "no room" || s.Good == nil || s.Good.Failed != "" || !s.Last.Began.After(s.Good.Ended) {
		t.Errorf("after a failure: %+v", s)
	}
	if s := read(t, f, runs.Pack); s.Last != nil {
		t.Errorf("another job has %+v", s.Last)
	}
	if s, err := runs.Read(f, runs.InHome, runs.Backup, "4567"); err != nil || s.Last != nil {
		t.Errorf("of another storage: %+v, %v", s, err)
	}
}

// TestDamageIsRememberedUntilACheckOfEverythingIsClean.
func TestDamageIsRememberedUntilACheckOfEverythingIsClean(t *testing.T) {
	t.Parallel()
	f, c := place(t), new(clock)
	o := options(f, c, runs.Check)
	for i, tc := range []struct {
		result runs.Result
		damage int64 // that is remembered
		good   int   // the step of the last check of everything
	}{
		{checked(runs.Whole, true, 0), 0, 0},
		{checked(runs.Part, true, 2, "x"), 2, 0},
		{checked(runs.Part, true, 0), 2, 0},
		{checked(runs.Whole, true, 3), 3, 3},
		{checked(runs.Part, true, 1), 3, 3},
		{checked(runs.Whole, false, 1), 3, 3},
		{checked(runs.Whole, false, 0), 3, 3},
		{runs.Result{Failed: "in snapshot mode", Check: &runs.Checked{Extent: runs.Whole}}, 3, 3},
		{checked(runs.Snapshot, true, 0), 0, 8},
		{checked(runs.Snapshot, false, 1), 1, 8},
		{checked(runs.Snapshot, true, 4), 4, 10},
		{checked(runs.Whole, true, 0), 0, 11},
		{dangling(runs.Whole, 6, 6), 6, 12},
		{dangling(runs.Part, 1, 1), 6, 12},
		{dangling(runs.Part, 2, 1), 2, 12},
		{dangling(runs.Part, 7, 7), 2, 12},
	} {
		tc.result.Check.Files = int64(i)
		do(t, o, tc.result)
		s := read(t, f, runs.Check)
		got := int64(0)
		if s.Damage != nil {
			got = s.Damage.Check.Damage
		}
		if got != tc.damage || s.Good.Check.Files != int64(tc.good) || s.Last.Check.Files != int64(i) {
			t.Errorf("step %d: damage %d, want %d; good is %+v, last %+v", i, got, tc.damage, s.Good.Check, s.Last.Check)
		}
	}
}

// met is a run that failed of damage.
func met(text string) runs.Result {
	return runs.Result{Failed: text, Damaged: true, Check: &runs.Checked{Extent: runs.Part, Damage: 2, First: []string{text}}}
}

// TestDamageThatAnotherJobMetIsInTheRecordOfCheck, whatever its later runs do, until a check of
// everything is clean. A verification is about backups.
func TestDamageThatAnotherJobMetIsInTheRecordOfCheck(t *testing.T) {
	t.Parallel()
	f, c := place(t), new(clock)
	for i, step := range []struct {
		job    runs.Job
		result runs.Result
		by     runs.Job // of the damage that is remembered
		broken int64
	}{
		{runs.Verify, met("v"), "", 0},
		{runs.Backup, met("a"), runs.Backup, 2},
		{runs.Backup, runs.Result{Failed: "no room"}, runs.Backup, 2},
		{runs.Backup, runs.Result{}, runs.Backup, 2},
		{runs.Pack, met("b"), runs.Backup, 2},
		{runs.Check, checked(runs.Part, true, 0), runs.Backup, 2},
		{runs.Check, dangling(runs.Whole, 1, 1), runs.Check, 0},
		{runs.Reclaim, met("c"), runs.Reclaim, 2},
		{runs.Check, checked(runs.Whole, true, 9), runs.Check, 9},
		{runs.Pack, met("d"), runs.Check, 9},
		{runs.Check, checked(runs.Snapshot, true, 0), "", 0},
		{runs.Pack, runs.Result{}, "", 0},
	} {
		do(t, options(f, c, step.job), step.result)
		s := read(t, f, runs.Check)
		by := runs.Job("")
		if s.Damage != nil {
			by = s.Damage.FoundBy()
		}
		if by != step.by || s.Damage.Broken() != step.broken {
			t.Errorf("step %d, %s: %d by %q, want %d by %q", i, step.job, s.Damage.Broken(), by, step.broken, step.by)
		}
		if own := read(t, f, step.job); own.Last == nil || own.Last.Failed != step.result.Failed || step.job != runs.Check && own.Damage != nil {
			t.Errorf("step %d, %s: %+v", i, step.job, own)
		}
	}
}

// TestDamageOutsideARecordStands until a clean check of everything that began later.
func TestDamageOutsideARecordStands(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	damage := &runs.Run{Ended: at, Result: met("a")}
	for _, tc := range []struct {
		name   string
		run    *runs.Run
		good   *runs.Run
		stands bool
	}{
		{"no check", damage, nil, true},
		{"an earlier clean one", damage, &runs.Run{Began: at.Add(-time.Hour), Result: checked(runs.Whole, true, 0)}, true},
		{"a later clean one", damage, &runs.Run{Began: at.Add(time.Hour), Result: checked(runs.Whole, true, 0)}, false},
		{"a later one with dangling references", damage, &runs.Run{Began: at.Add(time.Hour), Result: dangling(runs.Whole, 1, 1)}, false},
		{"a later one with damage", damage, &runs.Run{Began: at.Add(time.Hour), Result: checked(runs.Whole, true, 1)}, true},
		{"no damage", &runs.Run{Ended: at}, nil, false},
		{"no run", nil, nil, false},
	} {
		if got := tc.run.Stands(&runs.Record{Good: tc.good}); got != tc.stands {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// TestKilledBetweenTwoRecords: damage that a backup met is in the record of check before that of the backup
// has it.
func TestKilledBetweenTwoRecords(t *testing.T) {
	t.Parallel()
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.Random(1), crashfs.KeepAll} {
		for at := 1; ; at++ {
			f, c := place(t), new(clock)
			w, err := runs.Begin(options(f, c, runs.Backup))
			if err != nil {
				t.Fatal(err)
			}
			f.CrashAt(f.Ops() + at)
			if err := w.End(met("a")); err == nil {
				if at < 10 {
					t.Errorf("%d operations only", at)
				}
				break
			}
			for name, g := range map[string]*crashfs.FS{"kill": f.Killed(), "power cut": f.Crashed(mode)} {
				own, check := read(t, g, runs.Backup), read(t, g, runs.Check)
				if own.Damaged != nil || check.Damaged != nil || own.Last != nil && check.Damage.Broken() != 2 {
					t.Errorf("%s (%v) at operation %d: %+v, %+v", name, mode, at, own, check)
				}
			}
		}
	}
}

// TestRunThatEndsWithoutAWord is told until the next one, which has its beginning in its record.
func TestRunThatEndsWithoutAWord(t *testing.T) {
	t.Parallel()
	f, c := place(t), new(clock)
	do(t, options(f, c, runs.Backup), runs.Result{})
	if _, err := runs.Begin(options(f, c, runs.Backup)); err != nil {
		t.Fatal(err)
	}
	f = f.Killed()
	s := read(t, f, runs.Backup)
	if !s.Interrupted() || s.Running || s.Last == nil || s.Last.Failed != "" {
		t.Errorf("after the kill: %+v", s)
	}
	began := s.Begun.Time
	w, err := runs.Begin(options(f, c, runs.Backup))
	if err != nil {
		t.Fatal(err)
	}
	if s := read(t, f, runs.Backup); s.Interrupted() || !s.Running || !s.Last.Interrupted || s.Last.Failed == "" || !s.Last.Began.Equal(began) {
		t.Errorf("in the next run: %+v", s)
	}
	if err := w.End(runs.Result{}); err != nil {
		t.Fatal(err)
	}
	if s := read(t, f, runs.Backup); s.Begun != nil || s.Last.Failed != "" {
		t.Errorf("after the next run: %+v", s)
	}
}

// TestTwoRunsAtOnce: the second one does not take the place of the first, and both ends are recorded.
func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	f, c := place(t), new(clock)
	first, err := runs.Begin(options(f, c, runs.Backup))
	if err != nil {
		t.Fatal(err)
	}
	second, err := runs.Begin(options(f, c, runs.Backup))
	if err = errors.Join(err, second.End(runs.Result{Failed: "somebody else is at work"})); err != nil {
		t.Fatal(err)
	}
	if s := read(t, f, runs.Backup); !s.Running || s.Begun == nil || s.Last.Failed == "" {
		t.Errorf("after the second: %+v", s)
	}
	if err := first.End(runs.Result{}); err != nil {
		t.Fatal(err)
	}
	if s := read(t, f, runs.Backup); s.Running || s.Begun != nil || s.Last.Failed != "" || s.Good == nil {
		t.Errorf("after the first: %+v", s)
	}
}

// TestCleanCheckBesideOneThatFoundDamage: a check that began before another one found damage may have
// passed the place before it was damaged. One that begins later ends the damage, also if the clock was set
// back meanwhile.
func TestCleanCheckBesideOneThatFoundDamage(t *testing.T) {
	t.Parallel()
	f, c := place(t), new(clock)
	o := options(f, c, runs.Check)
	long, err := runs.Begin(o)
	if err != nil {
		t.Fatal(err)
	}
	do(t, o, checked(runs.Whole, true, 3))
	if err := long.End(checked(runs.Whole, true, 0)); err != nil {
		t.Fatal(err)
	}
	if s := read(t, f, runs.Check); s.Damage == nil || s.Good.Check.Damage != 0 || s.Begun != nil {
		t.Errorf("after the one that began before: %+v", s)
	}
	back := c.at.Add(-24 * time.Hour)
	c.mu.Lock()
	c.at = back
	c.mu.Unlock()
	do(t, o, checked(runs.Whole, true, 0))
	if s := read(t, f, runs.Check); s.Damage != nil {
		t.Errorf("after one that began later: %+v", s.Damage)
	}
}

// TestRunThatEndsWhileItsRecordIsRead is not one that was killed.
func TestRunThatEndsWhileItsRecordIsRead(t *testing.T) {
	t.Parallel()
	f, c := place(t), new(clock)
	w, err := runs.Begin(options(f, c, runs.Backup))
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	reader := errfs.New(f, func(op errfs.Op) error {
		if strings.HasSuffix(op.Name, "backup.lock") && !ended { // the record has been read
			ended = true
			return w.End(runs.Result{})
		}
		return nil
	})
	s, err := runs.Read(reader, runs.InHome, runs.Backup, "0123")
	if err != nil || !ended || s.Interrupted() || s.Running || s.Good == nil {
		t.Errorf("ended %v: %+v, %v", ended, s, err)
	}
}

// TestManyWritersLoseNoDamage: jobs write and others read, all at once.
func TestManyWritersLoseNoDamage(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err == nil {
		err = f.Mkdir("misc")
	}
	if err != nil {
		t.Fatal(err)
	}
	c := new(clock)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			o := options(f, c, runs.Check)
			o.Pause = func() { // which Begin and End call in a loop
				for range 2 {
					time.Sleep(time.Millisecond)
				}
			}
			result := checked(runs.Part, true, 0)
			if i == 3 {
				result = checked(runs.Whole, true, 5)
			}
			for range 5 {
				w, err := runs.Begin(o)
				if err = errors.Join(err, w.End(result)); err != nil {
					t.Error(err)
				}
				if s, err := runs.Read(f, runs.InHome, runs.Check, ""); err != nil || s.Damaged != nil {
					t.Errorf("%+v, %v", s, err)
				}
			}
		})
	}
	wg.Wait()
	if s := read(t, f, runs.Check); s.Damage == nil || s.Damage.Check.Damage != 5 || s.Begun != nil {
		t.Errorf("%+v", s)
	}
}

// TestKilledAtEveryOperation: after a kill, and after a power cut, at any operation of a run, the record is
// that of before or after; damage is never forgotten; and the next run is recorded.
func TestKilledAtEveryOperation(t *testing.T) {
	t.Parallel()
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.Random(1), crashfs.Random(2), crashfs.KeepAll} {
		for at := 1; ; at++ {
			f, c := place(t), new(clock)
			do(t, options(f, c, runs.Check), checked(runs.Whole, true, 3))
			f.CrashAt(f.Ops() + at)
			w, err := runs.Begin(options(f, c, runs.Check))
			if err == nil {
				err = w.End(checked(runs.Whole, true, 0))
			}
			if err == nil {
				if at < 10 {
					t.Errorf("%d operations only", at)
				}
				break
			}
			for name, g := range map[string]*crashfs.FS{"kill": f.Killed(), "power cut": f.Crashed(mode)} {
				s := read(t, g, runs.Check)
				where := fmt.Sprintf("%s (%v) at operation %d", name, mode, at)
				switch {
				case s.Damaged != nil || s.Running || s.Good == nil:
					t.Errorf("%s: %+v", where, s)
				case s.Damage == nil && s.Good.Check.Damage != 0:
					t.Errorf("%s: the damage is forgotten: %+v", where, s)
				}
				do(t, options(g, c, runs.Check), checked(runs.Whole, true, 1))
				if s := read(t, g, runs.Check); s.Damage == nil || s.Damage.Check.Damage != 1 || s.Begun != nil {
					t.Errorf("%s, and the next run: %+v", where, s)
				}
			}
		}
	}
}

// TestRecordThatCannotBeWritten stops nobody: an error is returned, the record is as it was, and no run looks
// as if it were under way.
func TestRecordThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.ENOSPC, syscall.EROFS, fs.ErrPermission} {
		f, c := place(t), new(clock)
		do(t, options(f, c, runs.Check), checked(runs.Whole, true, 3))
		broken := errfs.New(f, func(op errfs.Op) error {
			if op.Kind == "create" || op.Kind == "lock" && errors.Is(cause, syscall.EROFS) {
				return cause
			}
			return nil
		})
		w, err := runs.Begin(options(broken, c, runs.Check))
		if !errors.Is(err, cause) {
			t.Errorf("%v: Begin: %v", cause, err)
		}
		if err := w.End(checked(runs.Whole, true, 0)); !errors.Is(err, cause) {
			t.Errorf("%v: End: %v", cause, err)
		}
		if s := read(t, f, runs.Check); s.Running || s.Begun != nil || s.Damage == nil {
			t.Errorf("%v: %+v", cause, s)
		}
	}
	f := crashfs.New(1) // a copy without misc
	w, err := runs.Begin(options(f, new(clock), runs.Check))
	if !errors.Is(err, fs.ErrNotExist) || !errors.Is(w.End(runs.Result{}), fs.ErrNotExist) {
		t.Errorf("without misc: %v", err)
	}
	if _, err := f.Stat("misc"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("misc was made")
	}
}

// TestDamagedAndNewerRecords: the former count as none, and are said; the latter are understood as far as
// this program goes.
func TestDamagedAndNewerRecords(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "[]", `{"last":{}}`, `{"version":"1"}`, strings.Repeat(" ", 2<<20)} {
		f, c := place(t), new(clock)
		if err := f.Mkdir(runs.InHome); err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.Put(f, "misc/runs/check", []byte(text), false); err != nil {
			t.Fatal(err)
		}
		if s := read(t, f, runs.Check); s.Damaged == nil || s.Last != nil || !strings.Contains(s.Damaged.Error(), "misc/runs/check") {
			t.Errorf("%.20q: %+v", text, s)
		}
		do(t, options(f, c, runs.Check), checked(runs.Whole, true, 0))
		if s := read(t, f, runs.Check); s.Damaged != nil || s.Good == nil {
			t.Errorf("%.20q, then a run: %+v", text, s)
		}
	}
	f := place(t)
	if err := f.Mkdir(runs.InHome); err != nil {
		t.Fatal(err)
	}
	newer := `{"version":9,"mood":"new","damage":{"began":"2030-01-01T00:00:00Z","ended":"2030-01-01T01:00:00Z","program":"9","check":{"extent":"quick","damage":4,"colour":"red"}}}`
	if _, err := vfs.Put(f, "misc/runs/check", []byte(newer), false); err != nil {
		t.Fatal(err)
	}
	if s := read(t, f, runs.Check); s.Damaged != nil || s.Damage == nil || s.Damage.Check.Damage != 4 {
		t.Errorf("%+v", s)
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/flush"
	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// filled opens a storage with so many transactions of the model, all of them in A.
func (c packCase) filled(ctx context.Context, o Options, transactions int) (*Storage, *packModel, error) {
	s, err := Open(ctx, "", o)
	if err != nil {
		return nil, nil, err
	}
	rnd := rand.New(rand.NewPCG(c.seed, 7))
	m := c.newModel()
	for err == nil && len(m.txns) < transactions {
		if err = m.commit(ctx, s, rnd); errors.Is(err, zodb.ErrDangling) || errors.Is(err, zodb.ErrUndo) {
			err = nil // an undo took away the target of a change
		}
	}
	if err = errors.Join(err, s.WaitNormal(ctx), s.Flush(ctx)); err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, m, nil
}

// TestErrorAtEveryOperationOfAPack lets one operation fail, each in its turn, with an I/O error or
// because the disk is full. No live file is lost, check finds nothing, and the next pack removes
// the rest.
func TestErrorAtEveryOperationOfAPack(t *testing.T) {
	t.Parallel()
	every := hometest.OneOf(5, 71, 307)
	for i, cause := range []error{syscall.ENOSPC, syscall.EIO, syscall.EMFILE} {
		sets := []string{"storage.min_pack_time=0", "storage.min_pack_time=0 storage.delay_delete=0"}
		for j, c := range []packCase{
			{format: layout.Bundled, set: sets[0]}, {format: layout.Bundled, set: sets[1]},
			{format: layout.Formats()[i%len(layout.Formats())], set: sets[0]}, {format: layout.Formats()[(i+2)%len(layout.Formats())], set: sets[1]},
		} {
			c.seed = uint64(4*i+j) + 300
			t.Run(fmt.Sprintf("%v %s %s", cause, c.format, c.set), func(t *testing.T) {
				t.Parallel()
				kinds, _ := c.packWithError(t, cause, faulttest.Nth{})
				run, found := faulttest.RunOf(kinds), comings{}
				for n := range faulttest.Sample(len(kinds), every, c.seed, hometest.Phase(t)) {
					if t.Failed() {
						return
					}
					_, came := c.packWithError(t, cause, run.Nth(0, n))
					found.count(came)
				}
				found.want(t)
				t.Logf("an error at each %d. of %d operations", every, len(kinds))
			})
		}
	}
}

// noPartOfIt reports whether an operation is on a file outside the database.
func noPartOfIt(op string) bool {
	if strings.HasPrefix(op, "read A/bundles/") || strings.Contains(op, "journal/aside-merge") || strings.Contains(op, "misc/current") {
		return true // it is read once more, by way of the index; a merge is tried again; the table is not asked
	}
	_, name, _ := strings.Cut(op, " ")
	if _, of, ok := strings.Cut(name, ", of "); ok {
		name = of
	}
	return strings.HasPrefix(name, "misc/refs") || name == flush.CountsFile || name == home.JournalDir+"/aside-counts"
}

// packWithError packs with an error at an operation of those of failAt (the zero value: at none), and again without. It returns
// the kinds of all without an error, and whether that one came.
func (c packCase) packWithError(t *testing.T, cause error, at faulttest.Nth) (kinds []string, came bool) {
	t.Helper()
	disk := crashfs.New(int64(c.seed))
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	f.ShortWrites()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	so := c.options(f)       // with one clock for both times that it is opened
	var ofChores atomic.Bool // the log has an error of one
	so.Logger = slog.New(logFunc(func(line string) {
		if strings.HasPrefix(line, "files could not be made denser") {
			ofChores.Store(true)
		}
	}))
	s, m, err := c.filled(ctx, so, 24)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	files := len(filesOf(f, c.format))
	o := zodb.PackOptions{Time: m.txns[16].tid.Time(), References: true}
	end := failAt(f, cause, at)
	_, err = s.Pack(ctx, o)
	kinds, failed := end()
	where := fmt.Sprintf("%v at %v (%s)", cause, at, failed)
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s: hangs", where)
	case err == nil && failed != "" && cause != syscall.EIO && !noPartOfIt(failed): // an error of a chore is in the log when that has ended
		eventually(t, where+": somebody is told", func() bool { return s.Status().PassingErrors > 0 || ofChores.Load() })
	case err != nil && cause == syscall.ENOSPC && !errors.Is(err, zodb.ErrDiskFull):
		t.Errorf("%s: the pack does not say that the disk is full: %v", where, err)
	case err != nil && !errors.Is(err, cause) && !errors.Is(err, zodb.ErrReadOnly):
		t.Errorf("%s: the pack says %v", where, err)
	}
	if cause == syscall.EIO { // it may have made the storage read-only
		s.Close()
		if s, err = Open(ctx, "", so); err != nil {
			t.Fatalf("%s: open: %v", where, err)
		}
		err = s.WaitPack(ctx)
	} else if st := s.Status(); st.ReadOnly || st.Failure != "" {
		err = fmt.Errorf("it is read-only: %+v", st)
	} else {
		err = nil
	}
	if err == nil {
		err = c.packAgain(ctx, s, f, m, o)
	}
	if err != nil {
		t.Errorf("%s: afterwards: %v", where, err)
	}
	if left := len(filesOf(f, c.format)); left > files*3/4 {
		t.Errorf("%d of %d files are left: too many to show anything", left, files)
	}
	return kinds, failed != ""
}

// packAgain looks whether everything that stays is there, commits, and packs to the
// same time: then only the kept files are there.
func (c packCase) packAgain(ctx context.Context, s *Storage, f vfs.FS, m *packModel, o zodb.PackOptions) error {
	m.pack(zodb.TIDFromTime(o.Time), true)
	if err := errors.Join(m.verify(ctx, s), damaged(ctx, f)); err != nil {
		return err
	}
	if err := m.commit(ctx, s, rand.New(rand.NewPCG(c.seed, 8))); err != nil && !errors.Is(err, zodb.ErrDangling) {
		return fmt.Errorf("commit: %w", err)
	}
	if _, err := s.Pack(ctx, o); err != nil {
		return fmt.Errorf("the next pack: %w", err)
	}
	if err := errors.Join(m.verify(ctx, s), s.Flush(ctx)); err != nil {
		return err
	}
	if got, want := filesOf(f, c.format), m.names(c.format); !slices.Equal(got, want) {
		return fmt.Errorf("after the next pack: files in A\n%s", difference(want, got))
	}
	return errors.Join(s.Close(), sound(ctx, f, false))
}

// storageToPack has an object that stays, one that goes, and a chain of transactions to be
// linked past it.
func storageToPack(t *testing.T, retry time.Duration) (s *Storage, f *errfs.FS, stays, goes zodb.OID) {
	t.Helper()
	home := newHome(t, CreateOptions{Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	f = errfs.New(dir, nil)
	s = open(t, home, Options{fs: f, RetryInterval: retry})
	oids := newOIDs(t, s, 2)
	commit(t, s, change{oid: 0, data: rec("root", oids[0])}, change{oid: oids[0], data: rec("stays")})
	for i := range 3 {
		commit(t, s, change{oid: oids[1], data: rec(fmt.Sprint("garbage ", i))})
	}
	commit(t, s, change{oid: 0, data: rec("root again", oids[0])})
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s, f, oids[0], oids[1]
}

// wantPacked looks whether the condemned files are gone.
func wantPacked(t *testing.T, s *Storage, stays, goes zodb.OID, transactions int) {
	t.Helper()
	if exists(t, s, goes) || load(t, s, stays) != string(rec("goes on")) {
		t.Error("the pack does not remove what it should")
	}
	if n := len(tids(t, s)); n != transactions {
		t.Errorf("%d transactions are left, want %d", n, transactions)
	}
	if err := errors.Join(s.Close(), sound(t.Context(), s.home.FS, false)); err != nil {
		t.Error(err)
	}
}

// TestPackOnAFullDiskEndsWithAClearError: the disk stays full for a pack's own files, and clients
// go on.
func TestPackOnAFullDiskEndsWithAClearError(t *testing.T) {
	t.Parallel()
	inA := func(op errfs.Op) bool {
		return strings.HasPrefix(op.Name, "A/") && !strings.Contains(op.Name, "packed")
	}
	for _, tt := range []struct {
		what  string
		full  func(errfs.Op) bool
		plans bool // there is a plan already, and it stays
	}{
		{"creating the plan", func(op errfs.Op) bool { return op.Kind == "create" && op.Name == planAside }, false},
		{"writing the plan", func(op errfs.Op) bool { return op.Kind == "write" && op.Name == planAside }, false},
		{"creating the file of what is spared", func(op errfs.Op) bool { return op.Name == sparedFile }, false},
		{"renaming the plan", func(op errfs.Op) bool { return op.Name == planFile }, false},
		{"x.packed", func(op errfs.Op) bool { return strings.Contains(op.Name, "packed") }, true},
		{"linking transactions", inA, true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			s, f, stays, goes := storageToPack(t, time.Millisecond)
			full{f}.set(tt.full)
			if _, err := s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrDiskFull) || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("pack: %v", err)
			}
			if _, err := s.home.FS.Stat(planFile); (err == nil) != tt.plans {
				t.Errorf("the plan: %v, want one: %t", err, tt.plans)
			}
			if _, err := s.home.FS.Stat(planAside); err == nil {
				t.Error("a plan that is not valid takes room")
			}
			if _, err := s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrDiskFull) {
				t.Errorf("once more: %v", err)
			}
			if err := s.WaitPack(t.Context()); tt.plans != errors.Is(err, zodb.ErrDiskFull) {
				t.Errorf("waiting for the pack: %v", err)
			}
			if got := load(t, s, stays); got != string(rec("stays")) {
				t.Errorf("an object that stays: %q", got)
			}
			commit(t, s, change{oid: stays, data: rec("goes on")})
			f.Decide(nil)
			doPack(t, s, zodb.PackOptions{})
			wantPacked(t, s, stays, goes, 2)
		})
	}
}

// lackings are the things that a pack may lack, and where.
func lackings() []lacking {
	marks := func(op errfs.Op) bool { return strings.Contains(op.Name, "packed") }
	inA := func(op errfs.Op) bool { return strings.HasPrefix(op.Name, "A/") && !marks(op) }
	creates := func(op errfs.Op) bool {
		return slices.Contains([]string{"create", "write", "rename", "mkdir", "link"}, op.Kind)
	}
	reads := func(op errfs.Op) bool { return slices.Contains([]string{"open", "read"}, op.Kind) }
	return []lacking{
		{"x.packed", syscall.ENOSPC, func(op errfs.Op) bool { return creates(op) && marks(op) }},
		{"linking transactions", syscall.ENOSPC, func(op errfs.Op) bool { return creates(op) && inA(op) }},
		{"reading objects", syscall.EMFILE, func(op errfs.Op) bool { return reads(op) && strings.HasPrefix(op.Name, "A/o") }},
		{"reading transactions", syscall.ENFILE, func(op errfs.Op) bool { return reads(op) && strings.HasPrefix(op.Name, "A/t") }},
		{"the plan, no descriptor", syscall.EMFILE, func(op errfs.Op) bool { return op.Kind == "create" && op.Name == planAside }},
		{"reading the plan", syscall.EMFILE, func(op errfs.Op) bool { return reads(op) && op.Name == planFile }},
		{"removing", syscall.ENOMEM, func(op errfs.Op) bool { return op.Kind == "remove" && inA(op) }},
		{"listing", syscall.EMFILE, func(op errfs.Op) bool { return op.Kind == "list" && inA(op) }},
	}
}

type lacking struct {
	at    string
	cause syscall.Errno
	fails func(errfs.Op) bool
}

// TestPackOutlastsWhatPasses: an error that occurs a few times while a pack reads or removes does
// not end it, as it does not end a flush.
func TestPackOutlastsWhatPasses(t *testing.T) {
	t.Parallel()
	for _, tt := range lackings() {
		t.Run(tt.at, func(t *testing.T) {
			t.Parallel()
			s, f, stays, goes := storageToPack(t, time.Millisecond)
			var failed atomic.Int64
			f.Decide(func(op errfs.Op) error {
				if tt.fails(op) && failed.Add(1) <= 2 {
					return tt.cause
				}
				return nil
			})
			if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
				t.Errorf("pack: %v", err)
			}
			f.Decide(nil)
			if st := s.Status(); failed.Load() < 2 || st.ReadOnly || st.PassingErrors == 0 {
				t.Errorf("after %d failures: %+v", failed.Load(), st)
			}
			commit(t, s, change{oid: stays, data: rec("goes on")})
			wantPacked(t, s, stays, goes, 3)
		})
	}
}

// TestPackSaysWhatItLacks: the status names it while the pack waits, and the pack can be
// stopped then.
func TestPackSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	for _, tt := range lackings() {
		t.Run(tt.at, func(t *testing.T) {
			t.Parallel()
			s, f, stays, goes := storageToPack(t, time.Hour)
			f.Decide(func(op errfs.Op) error {
				if tt.fails(op) {
					return tt.cause
				}
				return nil
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := s.Pack(ctx, zodb.PackOptions{})
				ended <- err
			}()
			eventually(t, "the status names what is lacking", func() bool {
				st := s.Status()
				return st.Pack != nil && strings.Contains(st.Pack.Waiting, tt.cause.Error())
			})
			select {
			case err := <-ended:
				t.Fatalf("it ended: %v", err)
			default:
			}
			f.Decide(nil)
			cancel()
			if err := <-ended; !errors.Is(err, tt.cause) && !errors.Is(err, context.Canceled) {
				t.Errorf("stopped: %v", err)
			}
			if got := load(t, s, stays); got != string(rec("stays")) {
				t.Errorf("an object that stays: %q", got)
			}
			commit(t, s, change{oid: stays, data: rec("goes on")})
			doPack(t, s, zodb.PackOptions{})
			wantPacked(t, s, stays, goes, 2)
		})
	}
}

// TestCrashAtEveryOperationOfAnUndelete cuts the power while the removals of two packs are brought
// back. Check finds no damage, and after a second undelete everything is there.
func TestCrashAtEveryOperationOfAnUndelete(t *testing.T) {
	t.Parallel()
	crashedUndeletes(t, 500, hometest.OneOf(3, 91, 361), packCase.crashUndelete)
}

// crashedUndeletes runs a case over each format with no crash, and then with crashes before a sample of the operations
// that it returned, of which most have to come again.
func crashedUndeletes(t *testing.T, seed uint64, every int, run func(c packCase, t *testing.T, at faulttest.Nth, n int) (log []string, came bool)) {
	t.Helper()
	for i, format := range allFormats() {
		c := packCase{format: format, seed: uint64(i) + seed, set: "storage.min_pack_time=0"}
		t.Run(fmt.Sprintf("seed %d %s", c.seed, c.format), func(t *testing.T) {
			t.Parallel()
			log, _ := run(c, t, faulttest.Nth{}, 0)
			ops, runs := len(log), faulttest.NewRuns(log)
			var found comings
			for n := range faulttest.Sample(ops, every, c.seed, hometest.Phase(t)) {
				if t.Failed() {
					return
				}
				_, came := run(c, t, runs.Nth(0, n), n)
				found.count(came)
			}
			found.want(t)
			t.Logf("crashed at each %d. of %d operations", every, ops)
		})
	}
}

// crashUndelete crashes before an operation, the n-th one of another run (0: not at all), and returns the operations that
// there were, and whether that one came.
func (c packCase) crashUndelete(t *testing.T, at faulttest.Nth, n int) (log []string, came bool) {
	t.Helper()
	f := crashfs.New(int64(c.seed))
	if err := c.home(f); err != nil {
		t.Fatal(err)
	}
	s, m, err := c.filled(t.Context(), c.options(f), 24)
	if err != nil {
		t.Fatal(err)
	}
	before, list := filesOf(f, c.format), tids(t, s)
	for _, i := range []int{10, 18} {
		doPack(t, s, zodb.PackOptions{Time: m.txns[i].tid.Time()})
	}
	if left := len(filesOf(f, c.format)); left > len(before)*3/4 {
		t.Fatalf("%d of %d files are left: too many to show anything", left, len(before))
	}
	begun := f.Ops()
	if n > 0 {
		f.CrashBefore(at.Is())
	}
	_, err = s.Undelete(t.Context(), 0)
	log, came = f.Log()[begun:], errors.Is(err, crashfs.ErrCrashed)
	if err = errors.Join(err, s.Close()); n == 0 && err != nil {
		t.Fatal(err)
	}
	modes := []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n))}
	for _, mode := range modes {
		if err := c.undeleted(t, f.Crashed(mode), m, before, list); err != nil {
			t.Errorf("crash before %v of an undelete, %v: %v", at, mode, err)
		}
	}
	return log, came
}

// undeleted repeats an undelete after a crash, and compares with the content before the packs.
func (c packCase) undeleted(t *testing.T, f *crashfs.FS, m *packModel, files []string, list []zodb.TID) error {
	t.Helper()
	if err := damaged(t.Context(), f); err != nil {
		return fmt.Errorf("before open: %w", err)
	}
	s, err := Open(t.Context(), "", c.options(f))
	if err != nil {
		return err
	}
	defer s.Close()
	if err := damaged(t.Context(), f); err != nil {
		return fmt.Errorf("after open: %w", err)
	}
	if _, err := s.Undelete(t.Context(), 0); err != nil {
		return err
	}
	if d := difference(files, filesOf(f, c.format)); d != "" {
		return fmt.Errorf("files in A:\n%s", d)
	}
	if got := tids(t, s); !slices.Equal(got, list) {
		return fmt.Errorf("transactions %v\nwant %v", got, list)
	}
	return errors.Join(m.verify(t.Context(), s), s.Close(), sound(t.Context(), f, false))
}

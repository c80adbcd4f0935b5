package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestErrorAtEveryOperation lets one operation of the file system fail, each in its turn, with an
// I/O error or because the disk is full, and compares the storage after the next open with a model.
// Reads must never give wrong bytes meanwhile, and a passing error must leave nothing read-only
// that can go on.
func TestErrorAtEveryOperation(t *testing.T) {
	t.Parallel()
	every := hometest.OneOf(1, 43, 199)
	for i := range hometest.Rounds(t, 1) {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			seed := uint64(i)*10 + 7
			for _, c := range []errorCase{
				{zodb.ClassFull, layout.Bundled, seed, cause}, {zodb.ClassFull, layout.Bushy, seed, cause}, {zodb.ClassMinimal, layout.Bushy, seed, cause},
			} {
				t.Run(fmt.Sprintf("%s %s %v seed %d", c.class, c.format, cause, seed), func(t *testing.T) {
					t.Parallel()
					kinds, _ := c.run(t, faulttest.Nth{})
					run, found := faulttest.RunOf(kinds), comings{}
					for n := range faulttest.Sample(len(kinds), every, seed+uint64(len(c.class)+len(c.format)+len(cause.Error())), hometest.Phase(t)) { // other ones in each case
						if t.Failed() {
							return
						}
						_, came := c.run(t, run.Nth(0, n))
						found.count(came)
					}
					found.want(t)
				})
			}
		}
	}
}

type errorCase struct {
	class  zodb.Class
	format layout.Format
	seed   uint64
	cause  error
}

// run runs the scenario with an error at an operation, of those of failAt (the zero value: none). It returns the kinds of all
// without an error, and whether that one came.
func (c errorCase) run(t *testing.T, at faulttest.Nth) (kinds []string, came bool) {
	t.Helper()
	disk := crashfs.New(int64(c.seed))
	if err := populateHome(disk, c.class, c.format); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	f.ShortWrites()
	end := failAt(f, c.cause, at)
	o := scriptOptions(f)
	o.History = HistoryKept // after an error at its mark a storage may begin a history; see ownhistory_test.go
	sc := &scenario{fs: f, o: o, m: &model{}, rnd: rand.New(rand.NewPCG(c.seed, 0))}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := sc.run(ctx, 30)
	kinds, failedAt := end()
	where := fmt.Sprintf("%v at %v (%s)", c.cause, at, failedAt)
	if ctx.Err() != nil {
		t.Fatalf("%s: hangs", where)
	}
	if at.N == 0 {
		if err != nil {
			t.Fatal(err)
		}
		return kinds, false
	}
	if errors.Is(err, zodb.ErrSnapshotMode) && c.cause == syscall.ENOSPC && strings.HasSuffix(failedAt, "floor") {
		err = nil // a full disk makes an open start in snapshot mode
	}
	// An error that names its cause, or that of an earlier one, and nothing else.
	if err != nil && !errors.Is(err, c.cause) && !errors.Is(err, zodb.ErrReadOnly) && !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("%s: %v", where, err)
	}
	if err := sc.m.clone().verifySnapshot(ctx, f, crashfs.New(0), sc.o); err != nil {
		t.Errorf("%s: %v", where, err)
	}
	ran := err
	err = sc.recovered(ctx, f)
	if c.cause == syscall.EIO && errors.Is(err, syscall.EIO) {
		// Of an error of writing back that nobody was told yet, the next sync tells.
		err = sc.recovered(ctx, f)
	}
	if err != nil {
		t.Errorf("%s, %v: after the next open: %v", where, ran, err)
	}
	return kinds, failedAt != ""
}

// failAt lets an operation fail: of those that take space (ENOSPC), or of all
// (EIO). With end no more fail; it returns their kinds if none was to fail, and which failed.
func failAt(f *errfs.FS, cause error, at faulttest.Nth) (end func() (kinds []string, failed string)) {
	var kinds []string
	failed, named, nth := "", "", at.Counter()
	f.Decide(func(op errfs.Op) error {
		if op.Kind == "create" || op.Kind == "rename" || op.Kind == "remove" {
			named = op.Name // the purpose of a sync of its directory
		}
		if cause == syscall.ENOSPC && (!op.Changes() || op.Kind == "remove" || op.Kind == "touch" || strings.HasPrefix(op.Kind, "sync")) {
			return nil
		}
		if op.Kind == "space" || cause == syscall.EMFILE && !canFail(op, syscall.EMFILE) {
			return nil
		}
		switch verb, _, _ := strings.Cut(at.Kind, " "); {
		case at.N == 0:
			kinds = append(kinds, faulttest.FailingKind(op))
		case op.Kind == verb && nth(faulttest.FailingKind(op)):
			if failed = op.Kind + " " + op.Name; op.Kind == "syncdir" {
				failed += ", of " + named
			}
			return cause
		}
		return nil
	})
	return func() ([]string, string) {
		f.Decide(nil)
		return kinds, failed
	}
}

// full is an error hook that says ENOSPC while on is set, for operations that take space.
type full struct{ f *errfs.FS }

func (d full) set(match func(errfs.Op) bool) {
	d.f.Decide(func(op errfs.Op) error {
		switch op.Kind {
		case "create", "write", "allocate", "mkdir", "link", "rename":
			if match(op) {
				return syscall.ENOSPC
			}
		}
		return nil
	})
}

// homeIsSound checks a HOME that is closed.
func homeIsSound(t *testing.T, home string) {
	t.Helper()
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	if err := sound(t.Context(), dir, false); err != nil {
		t.Error(err)
	}
}

// newErrStorage opens a storage on the real file system with a hook for errors.
func newErrStorage(t *testing.T, o Options) (*Storage, *errfs.FS, string) {
	t.Helper()
	return newErrStorageAs(t, CreateOptions{}, o)
}

func newErrStorageAs(t *testing.T, c CreateOptions, o Options) (*Storage, *errfs.FS, string) {
	t.Helper()
	home := newHome(t, c)
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	f := errfs.New(dir, nil)
	o.fs = f
	return open(t, home, o), f, home
}

func TestDiskFullAtStoreAndVoteLosesNothingAndPasses(t *testing.T) {
	t.Parallel()
	s, f, _ := newErrStorage(t, Options{SpoolSize: 10})
	t1 := commit(t, s, change{oid: 1, data: rec("one")})
	disk := full{f}

	disk.set(func(op errfs.Op) bool { return strings.Contains(op.Name, "spool") })
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("two")}); !errors.Is(err, zodb.ErrDiskFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("store: %v", err)
	}
	disk.set(func(op errfs.Op) bool { return strings.Contains(op.Name, "blob") })
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("two"), blob: "content"}); !errors.Is(err, zodb.ErrDiskFull) {
		t.Errorf("store blob: %v", err)
	}
	disk.set(func(op errfs.Op) bool { return strings.Contains(op.Name, "log-") || strings.Contains(op.Name, "spare") })
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("two" + strings.Repeat("x", 200<<10))}); !errors.Is(err, zodb.ErrDiskFull) {
		t.Errorf("vote: %v", err)
	}
	if got := load(t, s, 1); got != string(rec("one")) || s.LastTransaction() != t1 {
		t.Errorf("a transaction that failed left a trace: %q, %s", got, s.LastTransaction())
	}
	f.Decide(nil)
	commit(t, s, change{oid: 1, data: rec("two" + strings.Repeat("x", 200<<10))})
	if st := s.Status(); st.ReadOnly || st.Failure != "" {
		t.Errorf("it does not go on: %+v", st)
	}
}

func TestDiskFullAtFlushKeepsTransactionsInTheJournal(t *testing.T) {
	t.Parallel()
	s, f, home := newErrStorage(t, Options{})
	full{f}.set(func(op errfs.Op) bool { return strings.HasPrefix(op.Name, "A/") })
	commit(t, s, change{oid: 1, data: rec("one")})
	if err := s.Flush(t.Context()); !errors.Is(err, zodb.ErrDiskFull) {
		t.Errorf("flush: %v", err)
	}
	if got := load(t, s, 1); got != string(rec("one")) {
		t.Errorf("got %q", got)
	}
	if st := s.Status(); st.ReadOnly || !strings.Contains(st.Trouble, "no space left") {
		t.Errorf("status %+v", st)
	}
	commit(t, s, change{oid: 2, data: rec("two")}) // there is room in the journal
	if err := s.EnterSnapshot(shortly(t), "x"); err == nil {
		t.Error("a snapshot was entered although not everything is in A")
	}
	f.Decide(nil)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, "A/o0/00/00/00/00/00/00/001/c")); err != nil {
		t.Error(err)
	}
	if st := s.Status(); st.Trouble != "" || st.UnflushedTransactions != 0 {
		t.Errorf("status %+v", st)
	}
}

func shortly(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestDiskFullDuringRecombinationIsSurvived(t *testing.T) {
	t.Parallel()
	s, f, home := newErrStorage(t, Options{})
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 1, data: rec("one")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	full{f}.set(func(op errfs.Op) bool { return strings.HasPrefix(op.Name, "A/") })
	if err := s.LeaveSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNormal(shortly(t)); err == nil {
		t.Error("B was moved into A on a full disk")
	}
	commit(t, s, change{oid: 2, data: rec("two")})
	if got := load(t, s, 1); got != string(rec("one")) {
		t.Errorf("got %q", got)
	}
	f.Decide(nil)
	if err := errors.Join(s.WaitNormal(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	homeIsSound(t, home)
}

func TestFailedFsyncMakesReadOnlyAndKeepsTheFirstCause(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"sync", "syncall"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s, f, home := newErrStorage(t, Options{})
			commit(t, s, change{oid: 1, data: rec("one")})
			f.Decide(func(op errfs.Op) error {
				if op.Kind == kind {
					return syscall.EIO
				}
				return nil
			})
			var err error
			if kind == "sync" {
				_, err = tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("two")})
				unknown, ok := errors.AsType[*zodb.UnknownOutcomeError](err)
				if !ok || unknown.TID == 0 {
					t.Errorf("commit: %v", err)
				}
			} else {
				for i := range zodb.OID(30) {
					commit(t, s, change{oid: 10 + i, data: rec("more")})
				}
				err = s.Flush(t.Context())
			}
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("it says %v", err)
			}
			// Later, other errors: the first one stays.
			f.Decide(func(errfs.Op) error { return nil })
			_, err = tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("three")})
			failed, ok := errors.AsType[*zodb.FailedError](err)
			if !ok || !errors.Is(err, zodb.ErrReadOnly) || !errors.Is(failed.Cause, syscall.EIO) {
				t.Errorf("a later commit: %v", err)
			}
			if st := s.Status(); !st.ReadOnly || !strings.Contains(st.Failure, "input/output error") {
				t.Errorf("status %+v", st)
			}
			if r, err := s.Load(t.Context(), 1); err != nil || len(r.Data) == 0 {
				t.Errorf("reading has to go on: %v", err)
			}
			if err := s.EnterSnapshot(t.Context(), "x"); !errors.Is(err, zodb.ErrReadOnly) {
				t.Errorf("snapshot: %v", err)
			}
			s.Close()
			again := open(t, home, Options{})
			if got := load(t, again, 1); got != string(rec("one")) && got != string(rec("two")) {
				t.Errorf("after the next open: %q", got)
			}
		})
	}
}

func TestWrongSettingsAreRefusedAndNothingChanges(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string][2]string{
		"newer version":  {"version: 0.11", "version: 0.99"},
		"unknown format": {"format: bushy", "format: hairy"},
		"unknown class":  {"classname: Full", "classname: Fuller"},
		"missing option": {"format: bushy", ""},
		"not a number":   {"flush_interval: ", "flush_interval: x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := newHome(t, CreateOptions{})
			file := filepath.Join(dir, home.SettingsFile)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, home.LockFile)); err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(b), edit[0], edit[1], 1)
			if changed == string(b) {
				t.Fatalf("%q is not in the settings:\n%s", edit[0], b)
			}
			if err := os.WriteFile(file, []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
			if s, err := Open(t.Context(), dir, Options{}); err == nil || !strings.Contains(err.Error(), home.SettingsFile) {
				t.Errorf("%v, want an error that names the file", err)
				if err == nil {
					s.Close()
				}
			}
			if _, err := os.Stat(filepath.Join(dir, home.LockFile)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the lock file was made: %v", err)
			}
		})
	}
}

func TestCreateIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	format := layout.Format(testFormat(t))
	make := func(f vfs.FS) error {
		return Create("/home", CreateOptions{fs: f, Format: string(format), Rand: rand.NewChaCha8([32]byte{})})
	}
	every := hometest.OneOf(1, 1, 5)
	faulttest.Sampled(t, every, hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
		f := crashfs.New(1)
		cut := faulttest.CutBefore(f, at)
		err := make(f)
		if came = cut.Load(); !came && err != nil {
			t.Fatal(err)
		}
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n)), crashfs.Random(uint32(n + 1000))} {
			after := f.Crashed(mode)
			_, statErr := after.Stat("home")
			if err == nil && statErr != nil {
				t.Fatalf("crash before %v, %v: create succeeded and it is not there", at, mode)
			}
			if statErr != nil {
				// Leftover files must not be in the way.
				if err := make(after); err != nil {
					t.Fatalf("crash before %v, %v: the next create: %v", at, mode, err)
				}
			}
			for _, name := range []string{"config/settings", "config/identity", "A/" + format.Path(layout.XOID), "A/" + format.Path(layout.XSerial)} {
				b, err := after.ReadFile("home/" + name)
				if err != nil || len(b) == 0 {
					t.Fatalf("crash before %v, %v: %s: %d bytes, %v", at, mode, name, len(b), err)
				}
			}
		}
		return f.Log(), came
	})
	faulttest.Sampled(t, every, hometest.Phase(t), func(at faulttest.Nth, _ int) (log []string, came bool) {
		f := errfs.New(crashfs.New(1), nil)
		failing := faulttest.ErrorAt(f, at, syscall.ENOSPC)
		if err := make(f); err != nil {
			if _, statErr := f.Stat(".home.new"); statErr == nil {
				t.Errorf("error at %v: %v, and what was begun is left", at, err)
			}
		}
		return failing()
	})
}

func TestDirSyncIsHonoured(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]bool{"0": false, "1": true} {
		home := newHome(t, CreateOptions{Set: map[string]string{"posix.dirsync": set}})
		dir, err := vfs.OS(home)
		if err != nil {
			t.Fatal(err)
		}
		var synced, files atomic.Int64
		f := errfs.New(dir, func(op errfs.Op) error {
			switch op.Kind {
			case "syncdir":
				synced.Add(1)
			case "sync":
				files.Add(1)
			case "syncall":
				if set == "0" {
					t.Error("everything was synced, directories too")
				}
			}
			return nil
		})
		s := open(t, home, Options{fs: f})
		for i := range zodb.OID(40) {
			commit(t, s, change{oid: i, data: rec("x"), blob: "blob"})
		}
		if err := errors.Join(s.Flush(t.Context()), s.EnterSnapshot(t.Context(), "a"), s.LeaveSnapshot(t.Context(), "a"), s.WaitNormal(t.Context()), s.Close()); err != nil {
			t.Fatal(err)
		}
		if got := synced.Load() > 0; got != want || files.Load() == 0 {
			t.Errorf("dirsync %s: %d directories and %d files were synced", set, synced.Load(), files.Load())
		}
	}
}

func TestThresholdStartsAFlush(t *testing.T) {
	t.Parallel()
	for _, option := range []string{"journal.flush_transaction_threshold", "journal.flush_file_threshold"} {
		home := newHome(t, CreateOptions{Set: map[string]string{option: "5"}})
		s := open(t, home, Options{})
		for i := range zodb.OID(5) {
			commit(t, s, change{oid: i, data: rec("x")})
		}
		eventually(t, "the flush by "+option, func() bool { return s.Status().UnflushedTransactions < 5 })
	}
}

// TestMemoryOfMetadataStartsAFlush: few transactions and files, but large metadata in the log.
func TestMemoryOfMetadataStartsAFlush(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{Set: map[string]string{"journal.flush_interval": "86400", "journal.flush_transaction_threshold": "1000000", "journal.flush_file_threshold": "1000000"}})
	s := open(t, home, Options{LogMemory: 100_000})
	write := func() {
		t.Helper()
		txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{Description: []byte(strings.Repeat("d", 30_000))}, zodb.BeginOptions{})
		if err == nil {
			err = txn.Store(0, s.LastTransaction(), rec("x"))
		}
		if err == nil {
			err = txn.Vote(t.Context())
		}
		if err == nil {
			_, err = txn.Finish(t.Context(), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write()
	write()
	if n := s.Status().UnflushedTransactions; n != 2 {
		t.Fatalf("%d transactions wait for a flush before there is a reason for one, want 2", n)
	}
	write()
	write()
	eventually(t, "the flush by memory", func() bool { return s.Status().UnflushedTransactions == 0 })
}

func TestBacklogStopsCommitsOnAFullDiskWithAClearError(t *testing.T) {
	t.Parallel()
	s, f, _ := newErrStorageAs(t, CreateOptions{Set: map[string]string{"journal.flush_transaction_threshold": "3", "journal.backlog": "1"}}, Options{})
	err := s.WaitNormal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	full{f}.set(func(op errfs.Op) bool { return strings.HasPrefix(op.Name, "A/") || isFlushed(op) })
	committed := 0
	for err == nil && committed <= 10 {
		if _, err = tryCommit(s, zodb.TxnMeta{}, change{oid: zodb.OID(committed), data: rec("x")}); err == nil {
			committed++
		}
	}
	if !errors.Is(err, zodb.ErrDiskFull) || committed != 6 {
		t.Errorf("%d commits went into a backlog of two batches of 3; then: %v", committed, err)
	}
	f.Decide(nil)
	eventually(t, "going on", func() bool {
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 100, data: rec("again")})
		return err == nil
	})
	for i := range committed {
		if got := load(t, s, zodb.OID(i)); got != string(rec("x")) {
			t.Errorf("object %d: %q", i, got)
		}
	}
}

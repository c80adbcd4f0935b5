package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
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

// passingErrors are those that have to do with the moment.
var passingErrors = []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSPC}

// canFail reports whether an operation can fail with one of the passing errors at all. A failed
// fsync of a file is not among them: it leaves the contents unknown.
func canFail(op errfs.Op, cause syscall.Errno) bool {
	switch cause {
	case syscall.EMFILE, syscall.ENFILE:
		switch op.Kind {
		case "open", "openwrite", "create", "list", "syncdir", "lock", "chmod":
			return true
		case "read":
			return !strings.HasPrefix(op.Name, "journal/log-") // which are open
		}
		return false
	case syscall.ENOSPC:
		switch op.Kind {
		case "create", "write", "allocate", "mkdir", "link", "rename":
			return true
		}
		return false
	}
	return op.Kind != "space" && op.Kind != "close" && !strings.HasPrefix(op.Kind, "sync")
}

// outage makes operations fail: so many of them from the first on.
type outage struct {
	cause    syscall.Errno
	first, n int

	mu     sync.Mutex
	ops    int
	failed []string
}

func (o *outage) decide(op errfs.Op) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !canFail(op, o.cause) {
		return nil
	}
	o.ops++
	if o.ops < o.first || o.ops >= o.first+o.n {
		return nil
	}
	o.failed = append(o.failed, op.Kind+" "+op.Name)
	return o.cause
}

func (o *outage) over() (ops int, failed []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ops, o.failed
}

// TestWhatPassesPassesAtEveryOperation lets an operation of a commit with a blob, a flush, a
// snapshot and its recombination fail with a passing error: each in its turn, alone or with the
// nineteen after it. Nothing becomes read-only, no acknowledged transaction is lost, every error
// names its cause, and all goes on without a restart.
func TestWhatPassesPassesAtEveryOperation(t *testing.T) {
	t.Parallel()
	every := max(1, hometest.OneOf(5, 53, 127)/hometest.Rounds(t, 1))
	for i, cause := range passingErrors {
		for j, n := range []int{1, 20} {
			for _, format := range []layout.Format{layout.Bundled, layout.Bushy} {
				t.Run(fmt.Sprintf("%v %d times %s", cause, n, format), func(t *testing.T) {
					t.Parallel()
					ops := sufferOutage(t, format, &outage{cause: cause, n: 0})
					for first := range faulttest.Sample(ops, every, uint64(i+3*j), hometest.Phase(t)) {
						if t.Failed() {
							return
						}
						sufferOutage(t, format, &outage{cause: cause, first: first, n: n})
					}
					t.Logf("%d operations", ops)
				})
			}
		}
	}
}

func sufferOutage(t *testing.T, format layout.Format, out *outage) (ops int) {
	t.Helper()
	disk := crashfs.New(5)
	if err := populateHome(disk, zodb.ClassFull, format); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	f.ShortWrites()
	o := scriptOptions(f)
	o.RetryInterval = time.Millisecond
	o.SpoolSize = 100
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Open(ctx, "", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	if err := s.WaitNormal(ctx); err != nil {
		t.Fatal(err)
	}
	where := func() string {
		_, failed := out.over()
		return fmt.Sprintf("%v at operations from %d on (%q)", out.cause, out.first, failed)
	}
	want := make(map[zodb.OID]string)
	blobs := make(map[zodb.OID]zodb.TID)
	put := func(oid zodb.OID, text, blob string) error {
		tid, err := tryCommit(s, zodb.TxnMeta{}, change{oid: oid, data: rec(text), blob: blob})
		if err == nil {
			want[oid] = text
			if blob != "" {
				blobs[oid] = tid
			}
		}
		return err
	}
	// try repeats a refused call, as a client would.
	try := func(what string, do func() error) {
		for range 200 {
			err := do()
			if err == nil || ctx.Err() != nil {
				return
			}
			if !errors.Is(err, out.cause) || !vfs.Passes(err) {
				t.Errorf("%s: %s: %v", where(), what, err)
				return
			}
		}
		t.Errorf("%s: %s: it does not pass", where(), what)
	}
	f.Decide(out.decide)
	for i := range zodb.OID(3) {
		try("commit", func() error { return put(i, fmt.Sprint("first ", i, strings.Repeat("x", 3000)), "blob") })
	}
	try("flush", func() error { return s.Flush(ctx) })
	try("enter", func() error {
		err := s.EnterSnapshot(ctx, "x")
		if err != nil && s.Status().Snapshot != "" { // it is taken back
			if werr := s.WaitNormal(ctx); werr != nil {
				return werr
			}
		}
		return err
	})
	for i := range zodb.OID(3) {
		try("commit in a snapshot", func() error { return put(i, fmt.Sprint("second ", i), "") })
	}
	try("flush in a snapshot", func() error { return s.Flush(ctx) })
	leaving := false
	try("leave", func() error {
		err := s.LeaveSnapshot(ctx, "x")
		if leaving && errors.Is(err, zodb.ErrSnapshotMode) { // left by itself since the error
			return nil
		}
		leaving = err != nil
		return err
	})
	if err := s.WaitNormal(ctx); err != nil {
		t.Errorf("%s: recombination: %v", where(), err)
	}
	for i := range zodb.OID(3) {
		try("load", func() error { _, err := s.Load(ctx, i); return err })
	}
	ops, _ = out.over()
	f.Decide(nil)
	if st := s.Status(); st.ReadOnly || st.Failure != "" {
		t.Errorf("%s: it is read-only: %s", where(), st.Failure)
		return ops
	}
	for round := range 2 {
		for oid, text := range want {
			rev, err := s.Load(ctx, oid)
			if err != nil || string(rev.Data) != string(rec(text)) {
				t.Errorf("%s: object %d, round %d: %v", where(), oid, round, err)
			}
			if tid := blobs[oid]; tid != 0 {
				b, err := s.OpenBlob(ctx, oid, tid)
				if err != nil {
					t.Errorf("%s: blob of %d, round %d: %v", where(), oid, round, err)
					continue
				}
				b.Close()
			}
		}
		if err := put(7, "last", ""); err != nil {
			t.Errorf("%s: a commit afterwards: %v", where(), err)
		}
		if round == 0 {
			if err := s.Close(); err != nil {
				t.Fatalf("%s: close: %v", where(), err)
			}
			if err := sound(ctx, f, false); err != nil {
				t.Errorf("%s: %v", where(), err)
			}
			if s, err = Open(ctx, "", o); err != nil {
				t.Fatalf("%s: open: %v", where(), err)
			}
		}
	}
	return ops
}

// testLog keeps the lines of the log.
type testLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(b))
	return len(b), nil
}

func (l *testLog) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Count returns in how many lines a text is.
func (l *testLog) Count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestTroubleIsTold: in status, and once in the log, however often it is tried again.
func TestTroubleIsTold(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cause syscall.Errno
		kind  zodb.TroubleKind
		is    error
		line  string
	}{
		{syscall.EMFILE, zodb.TroubleScarce, zodb.ErrScarce, "out of descriptors or memory"},
		{syscall.ENOMEM, zodb.TroubleScarce, zodb.ErrScarce, "out of descriptors or memory"},
		{syscall.EDQUOT, zodb.TroubleDisk, zodb.ErrDiskFull, "disk full"},
	} {
		t.Run(tc.cause.Error(), func(t *testing.T) {
			t.Parallel()
			log := new(testLog)
			s, f, _ := newErrStorage(t, Options{Logger: log.Logger(), RetryInterval: time.Millisecond})
			if err := s.WaitNormal(t.Context()); err != nil {
				t.Fatal(err)
			}
			var refused atomic.Int64
			f.Decide(func(op errfs.Op) error {
				if isFlushed(op) {
					refused.Add(1)
					return tc.cause
				}
				return nil
			})
			commit(t, s, change{oid: 1, data: rec("one")})
			if err := s.Flush(t.Context()); !errors.Is(err, tc.is) || !errors.Is(err, tc.cause) {
				t.Errorf("flush: %v", err)
			}
			eventually(t, "tries", func() bool { return refused.Load() > 5 })
			if st := s.Status(); st.ReadOnly || st.TroubleKind != tc.kind || !strings.Contains(st.Trouble, tc.cause.Error()) || st.PassingErrors < 5 {
				t.Errorf("status %+v", st)
			}
			if n := log.Count(tc.line); n != 1 {
				t.Errorf("it is %d times in the log", n)
			}
			f.Decide(nil)
			eventually(t, "going on", func() bool { st := s.Status(); return st.Trouble == "" && st.UnflushedTransactions == 0 })
			eventually(t, "a line in the log", func() bool { return log.Count("the trouble has passed") > 0 }) // written behind the status
			if n := log.Count("the trouble has passed"); n != 1 {
				t.Errorf("that it has passed is %d times in the log", n)
			}
		})
	}
}

// TestWhatIsNoPartOfTheDatabaseNeverFailsIt: misc/counts, with errors that do not even pass.
func TestWhatIsNoPartOfTheDatabaseNeverFailsIt(t *testing.T) {
	t.Parallel()
	log := new(testLog)
	s, f, where := newErrStorage(t, Options{Logger: log.Logger()})
	commit(t, s, change{oid: 1, data: rec("one")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Decide(func(op errfs.Op) error {
		if op.Name == flush.CountsFile || op.Name == home.JournalDir+"/aside-counts" {
			return syscall.EIO
		}
		return nil
	})
	for i := range zodb.OID(3) {
		commit(t, s, change{oid: 2 + i, data: rec("more")})
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Status(); st.ReadOnly || st.Trouble != "" || !st.Counts.Exact || st.Counts.Objects != 4 {
		t.Errorf("status %+v", st)
	}
	if n := log.Count("could not be written down"); n != 1 {
		t.Errorf("it is %d times in the log", n)
	}
	f.Decide(nil)
	if err := s.Close(); err != nil { // which tries once more
		t.Fatal(err)
	}
	dir, err := vfs.OS(where)
	if err != nil {
		t.Fatal(err)
	}
	f = errfs.New(dir, nil)
	s = open(t, where, Options{fs: f})
	if n := s.Counts(); !n.Exact || n.Objects != 4 {
		t.Errorf("counts after the next open: %+v", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f.Decide(func(op errfs.Op) error {
		if op.Name == flush.CountsFile {
			return syscall.EIO
		}
		return nil
	})
	s = open(t, where, Options{fs: f})
	if got := load(t, s, 1); got != string(rec("one")) || s.Counts().Exact {
		t.Errorf("opened without counts: %q, %+v", got, s.Counts())
	}
}

// TestBlobWhoseFsyncFailedIsNotVotedForAgain: the second fsync would say that all is well.
func TestBlobWhoseFsyncFailedIsNotVotedForAgain(t *testing.T) {
	t.Parallel()
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		s, f, _ := newErrStorage(t, Options{})
		commit(t, s, change{oid: 0, data: rec("root")})
		once := false
		f.Decide(func(op errfs.Op) error {
			if op.Kind == "sync" && strings.Contains(op.Name, "blob-") && !once {
				once = true
				return cause
			}
			return nil
		})
		txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
		if err == nil {
			err = fill(s, txn, change{oid: 1, data: rec("one"), blob: "content"})
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			if err := txn.Vote(t.Context()); !errors.Is(err, cause) {
				t.Errorf("%v: vote %d: %v", cause, i, err)
			}
		}
		txn.Abort()
		if st := s.Status(); st.ReadOnly { // nobody was promised that blob
			t.Errorf("%v: it is read-only: %s", cause, st.Failure)
		}
		tid := commit(t, s, change{oid: 1, data: rec("one"), blob: "content"})
		if got := readBlob(t, s, 1, tid); got != "content" {
			t.Errorf("%v: got %q", cause, got)
		}
	}
}

// TestAbandonedSnapshotIsLeftUnderLoad: with a flush that is due all the time.
func TestAbandonedSnapshotIsLeftUnderLoad(t *testing.T) {
	t.Parallel()
	s := open(t, newHome(t, CreateOptions{Set: map[string]string{"journal.flush_transaction_threshold": "1"}}), Options{})
	if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			for j := 0; !stop.Load(); j++ {
				if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: zodb.OID(i), data: rec(fmt.Sprint(j))}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	before := s.Status().Flushes
	eventually(t, "flushes", func() bool { return s.Status().Flushes > before+3 })
	s.AbandonSnapshot("x")
	eventually(t, "leaving", func() bool { return s.Status().Snapshot != "user/x" })
	stop.Store(true)
	wait.Wait()
}

// TestPackDoesNotWaitForAFlushThatFails: the pack may be the one that makes room. Also if somebody
// asks meanwhile for a snapshot, which waits for the flush.
func TestPackDoesNotWaitForAFlushThatFails(t *testing.T) {
	t.Parallel()
	for _, entering := range []bool{false, true} {
		s, f, _ := newErrStorage(t, Options{RetryInterval: time.Hour})
		if err := s.WaitNormal(t.Context()); err != nil {
			t.Fatal(err)
		}
		full{f}.set(func(op errfs.Op) bool { return strings.HasPrefix(op.Name, "A/") })
		commit(t, s, change{oid: 0, data: rec("root")})
		if err := s.Flush(t.Context()); !errors.Is(err, zodb.ErrDiskFull) {
			t.Fatal(err)
		}
		if entering {
			ctx, cancel := context.WithCancel(t.Context())
			entered := make(chan error)
			go func() { entered <- s.EnterSnapshot(ctx, "x") }()
			eventually(t, "a request", func() bool { return s.state.Decide(true, false).Entry != nil })
			defer func() {
				cancel()
				if err := <-entered; !errors.Is(err, context.Canceled) {
					t.Errorf("the snapshot: %v", err)
				}
			}()
		}
		steps := 0
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		if err := s.state.RunTask(ctx, func() (bool, error) { steps++; return steps == 3, nil }); err != nil {
			t.Errorf("a snapshot asked for %t: %d steps, %v", entering, steps, err)
		}
	}
}

// TestCommitThatCannotBeTakenBackIsUnknown: there was no room for the whole of a batch's commit
// frames, and then the disk failed. The waiting committers get an unknown outcome, not leave to try
// again; the storage is read-only and says why; the next open finds the transaction whole or not at
// all.
func TestCommitThatCannotBeTakenBackIsUnknown(t *testing.T) {
	t.Parallel()
	s, f, home := newErrStorage(t, Options{})
	before := commit(t, s, change{oid: 0, data: rec("before")})
	txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
	if err == nil {
		err = errors.Join(fill(s, txn, change{oid: 0, serial: before, data: rec("after"), blob: "blob"}), txn.Vote(t.Context()))
	}
	if err != nil {
		t.Fatal(err)
	}
	f.ShortWrites()
	full := true
	f.Decide(func(op errfs.Op) error {
		switch {
		case op.Kind != "write" || !strings.HasPrefix(op.Name, "journal/spare-"): // its name before
			return nil
		case full:
			full = false
			return syscall.ENOSPC
		}
		f.NoShortWrites()
		return syscall.EIO
	})
	tid, err := txn.Finish(t.Context(), nil)
	unknown, ok := errors.AsType[*zodb.UnknownOutcomeError](err)
	if !ok || unknown.TID != tid || errors.Is(err, zodb.ErrDiskFull) || vfs.Passes(err) || !strings.Contains(err.Error(), "may or may not have been committed") {
		t.Errorf("finish: %v", err)
	}
	if st := s.Status(); !st.ReadOnly || !strings.Contains(st.Failure, "taken back") {
		t.Errorf("status %+v", st)
	}
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("next")}); !errors.Is(err, zodb.ErrReadOnly) || vfs.Passes(err) {
		t.Errorf("the next commit: %v", err)
	}
	f.Decide(nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, home, Options{})
	switch got := load(t, s, 0); got {
	case string(rec("before")):
	case string(rec("after")):
		if blob := readBlob(t, s, 0, tid); blob != "blob" {
			t.Errorf("the blob is %q", blob)
		}
	default:
		t.Errorf("object 0 is %q", got)
	}
}

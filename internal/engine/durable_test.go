package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
	"github.com/dirstorage/dirstorage/zodb"
)

// manyLinks makes a storage of which a pack removes every second transaction of
// many, so that it links more of the others in a step than it syncs one by one.
func manyLinks(t *testing.T, f *crashfs.FS) (*Storage, []zodb.OID) {
	t.Helper()
	c := packCase{format: layout.Chunky, set: "storage.min_pack_time=0 storage.delay_delete=0"}
	if err := c.home(f); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), "", scriptOptions(f))
	if err != nil {
		t.Fatal(err)
	}
	const n = 30
	oids := newOIDs(t, s, n+1)
	list := []change{{oid: 0, data: rec("root", oids...)}}
	for _, oid := range oids {
		list = append(list, change{oid: oid, data: rec("first")})
	}
	commit(t, s, list...)
	for i := range n {
		commit(t, s, change{oid: oids[i], data: rec(fmt.Sprint("stays ", i))})
		commit(t, s, change{oid: oids[n], data: rec(fmt.Sprint("goes ", i))})
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s, oids
}

// TestManyLinksOfAPackAreWholeAfterAPowerCut: transactions are in no log any more when
// a pack links them anew.
func TestManyLinksOfAPackAreWholeAfterAPowerCut(t *testing.T) {
	t.Parallel()
	f := crashfs.New(1)
	s, _ := manyLinks(t, f)
	from := f.Ops()
	if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	log := f.Log()[from:]
	ops, runs := len(log), faulttest.NewRuns(log)
	links := 0
	for _, l := range log {
		if strings.HasPrefix(l, "rename journal/") && strings.Contains(l, " A/t") {
			links++
		}
	}
	if links < 24 {
		t.Fatalf("only %d links", links)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var found comings
	for n := range faulttest.Sample(ops, stride(4), 0, hometest.Phase(t)) {
		if t.Failed() {
			return
		}
		f := crashfs.New(1)
		s, oids := manyLinks(t, f)
		f.CrashBefore(runs.Nth(0, n).Is())
		_, err := s.Pack(t.Context(), zodb.PackOptions{})
		found.count(err != nil)
		_ = s.Close() // the power is off, or it ends well
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.Random(uint32(n)), crashfs.Random(uint32(n + 1000))} {
			after := f.Crashed(mode)
			if err := damaged(t.Context(), after); err != nil {
				t.Errorf("power cut at %d of %d, %v: %v", n, ops, mode, err)
			}
			s, err := Open(t.Context(), "", scriptOptions(after))
			if err != nil {
				t.Errorf("power cut at %d of %d, %v: open: %v", n, ops, mode, err)
				continue
			}
			if got := load(t, s, oids[7]); got != string(rec("stays 7")) {
				t.Errorf("power cut at %d of %d, %v: object %q", n, ops, mode, got)
			}
			for _, err := range s.Transactions(t.Context(), 0, 0) {
				if err != nil {
					t.Errorf("power cut at %d of %d, %v: %v", n, ops, mode, err)
				}
			}
			if err := errors.Join(s.WaitPack(t.Context()), s.Close()); err != nil {
				t.Errorf("power cut at %d of %d, %v: going on: %v", n, ops, mode, err)
			}
		}
	}
	found.want(t)
}

// failOnce lets the first operation fail that matches.
func failOnce(f *errfs.FS, cause error, match func(op errfs.Op) bool) (came *atomic.Bool) {
	came = new(atomic.Bool)
	f.Decide(func(op errfs.Op) error {
		if match(op) && came.CompareAndSwap(false, true) {
			return cause
		}
		return nil
	})
	return came
}

// TestLinkOfAPackThatFailedIsSyncedByTheNext: the next one finds the link as it
// should be.
func TestLinkOfAPackThatFailedIsSyncedByTheNext(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	c := packCase{format: layout.Bushy, set: "storage.min_pack_time=0 storage.delay_delete=0"}
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	o := scriptOptions(f)
	var shift atomic.Int64
	clock := o.Clock
	o.Clock = func() time.Time { return clock().Add(time.Duration(shift.Load())) }
	s, err := Open(t.Context(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := newOIDs(t, s, 2)
	for _, list := range [][]change{
		{{oid: 0, data: rec("root", x[0])}, {oid: x[0], data: rec("a")}},
		{{oid: x[1], data: rec("b1")}}, {{oid: x[1], data: rec("b2")}},
		{{oid: 0, data: rec("root", x...)}}, {{oid: 0, data: rec("root!", x...)}},
	} {
		commit(t, s, list...)
		shift.Add(int64(10 * time.Hour)) // each in a directory of its own
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	came := failOnce(f, syscall.ENOSPC, func(op errfs.Op) bool { return op.Kind == "syncdir" && strings.HasPrefix(op.Name, "A/t") })
	if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil || !came.Load() { // it tries again
		t.Fatalf("the first pack: %v", err)
	}
	if _, err := s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
		t.Fatal(err)
	}
	want := tids(t, s)
	after := disk.Crashed(crashfs.KeepNone)
	s2, err := Open(t.Context(), "", scriptOptions(after))
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	if got := tids(t, s2); fmt.Sprint(got) != fmt.Sprint(want) || len(got) != 3 {
		t.Errorf("after the power cut the transactions are %v, before it they were %v", got, want)
	}
	if err := sound(t.Context(), after, false); err != nil {
		t.Error(err)
	}
}

// TestNamesThatAChoreLosesEndWriting: an fsync of a directory that fails for good is no error that passes.
func TestNamesThatAChoreLosesEndWriting(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	f := errfs.New(disk, nil)
	c := packCase{format: layout.Bushy, set: "storage.min_pack_time=0 storage.delay_delete=0"}
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	s, m, err := c.filled(t.Context(), c.options(f), 12)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	failOnce(f, syscall.EIO, func(op errfs.Op) bool {
		return op.Kind == "syncall" || op.Kind == "syncdir" && strings.HasPrefix(op.Name, "A/o")
	})
	if _, err := s.Pack(t.Context(), zodb.PackOptions{Time: m.txns[8].tid.Time()}); !errors.Is(err, syscall.EIO) {
		t.Errorf("pack: %v", err)
	}
	if _, err := s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrReadOnly) {
		t.Errorf("the next pack: %v", err)
	}
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec("root")}); !errors.Is(err, zodb.ErrReadOnly) {
		t.Errorf("a commit: %v", err)
	}
}

// TestFlushThatFailedAtXSerialRepeatsTheMarkOnly: x.serial may name the batch by then.
func TestFlushThatFailedAtXSerialRepeatsTheMarkOnly(t *testing.T) {
	t.Parallel()
	ops := faulttest.Sampled(t, hometest.OneOf(1, 1, 3), hometest.Phase(t), func(at faulttest.Nth, n int) (log []string, came bool) {
		disk := crashfs.New(5)
		if err := populateHome(disk, zodb.ClassFull, layout.Bushy); err != nil {
			t.Fatal(err)
		}
		f := errfs.New(disk, nil)
		o := scriptOptions(f)
		o.RetryInterval = time.Hour
		s, err := Open(t.Context(), "", o)
		if err == nil {
			err = s.WaitNormal(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		var list []change
		for oid := range zodb.OID(14) {
			list = append(list, change{oid: oid, data: rec(strings.Repeat(fmt.Sprint(oid), 50))})
		}
		renamed := false // x.serial
		failed := failOnce(f, syscall.ENOSPC, func(op errfs.Op) bool {
			renamed = renamed || op.Kind == "rename" && strings.HasSuffix(op.Name, "x/serial")
			return renamed && op.Kind == "syncdir"
		})
		commit(t, s, list...) // which is enough for a flush
		eventually(t, "the first flush", func() bool { return s.Status().Trouble != "" || s.state.FlushedTID() != 0 })
		if !failed.Load() || s.Status().Trouble == "" {
			t.Fatalf("the first flush: %q", s.Status().Trouble)
		}
		begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
		err = s.Flush(t.Context())
		log = disk.Log()[begun:]
		if !cut.Load() && err != nil {
			t.Fatal(err)
		}
		_ = s.Close() // the power may be off
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n)), crashfs.Random(uint32(n + 500)), crashfs.Random(uint32(n + 1000))} {
			s, err := Open(t.Context(), "", scriptOptions(disk.Crashed(mode)))
			if err != nil {
				t.Fatalf("power cut before %v, %v: %v", at, mode, err)
			}
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Errorf("power cut before %v, %v: %v", at, mode, err)
			}
			for _, c := range list {
				if got := load(t, s, c.oid); got != string(c.data) {
					t.Errorf("power cut before %v, %v: object %s is %.40q", at, mode, c.oid, got)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		return log, cut.Load()
	})
	if ops > 20 {
		t.Errorf("the second flush took %d operations", ops)
	}
}

// TestUndeleteIsDurableWhenItIsRepeated: the second attempt finds the files in place.
func TestUndeleteIsDurableWhenItIsRepeated(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	c := packCase{format: layout.Bushy, set: "storage.min_pack_time=0"}
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	s, err := Open(t.Context(), "", scriptOptions(f))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	x := newOIDs(t, s, 1)[0]
	commit(t, s, change{oid: 0, data: rec("root", x)}, change{oid: x, data: rec("precious")})
	commit(t, s, change{oid: 0, data: rec("root without")})
	commit(t, s, change{oid: 0, data: rec("root without 2")})
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	r := doPack(t, s, zodb.PackOptions{})
	came := failOnce(f, syscall.ENOSPC, func(op errfs.Op) bool {
		return op.Kind == "syncall" || op.Kind == "syncdir" && strings.HasPrefix(op.Name, "A/")
	})
	if _, err := s.Undelete(t.Context(), r.Stamp); !errors.Is(err, zodb.ErrDiskFull) || !came.Load() {
		t.Fatalf("the first undelete: %v", err)
	}
	if _, err := s.Undelete(t.Context(), r.Stamp); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 0, data: rec("root again with x", x)})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.Random(1), crashfs.Random(2), crashfs.Random(3)} {
		s, err := Open(t.Context(), "", scriptOptions(disk.Crashed(mode)))
		if err != nil {
			t.Fatal(err)
		}
		if got := load(t, s, x); got != string(rec("precious")) {
			t.Errorf("%v: %q", mode, got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSnapshotIsDurableAlsoWhereAChoreFailed: an undelete has renamed files, and could not make the
// names durable. A copier of A sees the new names.
func TestSnapshotIsDurableAlsoWhereAChoreFailed(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	c := packCase{format: layout.Bushy, set: "storage.min_pack_time=0"}
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	f := errfs.New(disk, nil)
	s, err := Open(t.Context(), "", scriptOptions(f))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 6 {
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint("root ", i))})
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	r := doPack(t, s, zodb.PackOptions{})
	packed := filesOf(disk, c.format)
	failOnce(f, syscall.ENOSPC, func(op errfs.Op) bool { return op.Kind == "syncdir" && strings.HasPrefix(op.Name, "A/") })
	if _, err := s.Undelete(t.Context(), r.Stamp); !errors.Is(err, zodb.ErrDiskFull) {
		t.Fatalf("undelete: %v", err)
	}
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	seen := filesOf(disk, c.format)
	if len(seen) <= len(packed) {
		t.Fatal("nothing was brought back")
	}
	if d := difference(seen, filesOf(disk.Crashed(crashfs.KeepNone), c.format)); d != "" {
		t.Errorf("after a power cut A is no longer what the snapshot showed:\n%s", d)
	}
}

// TestFilesThatEnterAAfterASnapshotLookNewAtEveryKill kills the process before each operation of a
// flush, a pack, an undelete and of giving space back, after the clock was stepped back. It looks
// at the new and changed files in A when the next process has entered a snapshot.
func TestFilesThatEnterAAfterASnapshotLookNewAtEveryKill(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	type act func(s *Storage, stamp int64) error
	var names []string
	var cases []packCase
	var acts []act
	add := func(what string, format layout.Format, more string, do act) {
		names, acts = append(names, what+" "+format.String()), append(acts, do)
		cases = append(cases, packCase{format: format, set: "storage.min_pack_time=0" + more})
	}
	for _, format := range allFormats() {
		add("flush", format, "", func(s *Storage, _ int64) error { return s.Flush(t.Context()) })
		add("pack", format, "", func(s *Storage, _ int64) error { _, err := s.Pack(t.Context(), zodb.PackOptions{}); return err })
		add("undelete", format, "", func(s *Storage, stamp int64) error { _, err := s.Undelete(t.Context(), stamp); return err })
	}
	add("giving space back", layout.Bundled, " storage.delay_delete=0", func(s *Storage, _ int64) error { return s.worker.Reclaim(t.Context(), 0) })
	ops := faulttest.SampledOf(t, hometest.OneOf(1, 11, 101), hometest.Phase(t), names, func(t *testing.T, c int, at faulttest.Nth, _ int) ([]string, bool) {
		return killedAfterASnapshot(t, cases[c], at, acts[c])
	})
	if ops < 8*len(cases) {
		t.Errorf("they took %d operations only", ops)
	}
}

// killedAfterASnapshot kills the storage before an operation of the act, and returns its operations, and whether that one came.
func killedAfterASnapshot(t *testing.T, c packCase, at faulttest.Nth, act func(s *Storage, stamp int64) error) (log []string, came bool) {
	t.Helper()
	disk := crashfs.New(1)
	if err := c.home(disk); err != nil {
		t.Fatal(err)
	}
	var ns atomic.Int64
	ns.Store(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).UnixNano())
	clock := func() time.Time { return time.Unix(0, ns.Add(int64(time.Millisecond))) }
	disk.SetClock(clock)
	o := scriptOptions(disk)
	o.Clock = clock
	s, err := Open(t.Context(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	x, stay := newOIDs(t, s, 1)[0], newOIDs(t, s, 20)
	list := []change{{oid: 0, data: rec("root", append(stay, x)...)}, {oid: x, data: rec("goes")}}
	for _, oid := range stay { // so that space is given back when that is asked for alone
		list = append(list, change{oid: oid, data: rec("stays")})
	}
	commit(t, s, list...)
	for i := range 3 {
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint("root ", i), stay...)})
	}
	if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	r := doPack(t, s, zodb.PackOptions{}) // for the undelete
	commit(t, s, change{oid: 0, data: rec("one", stay...)})
	commit(t, s, change{oid: 0, data: rec("two", stay...)})
	requested := clock()
	if err := s.EnterSnapshot(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	before := make(map[string]string)
	for name := range vfs.Walk(disk, "A") {
		b, err := disk.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		before[name] = string(b)
	}
	if err := errors.Join(s.LeaveSnapshot(t.Context(), "a"), s.WaitNormal(t.Context())); err != nil {
		t.Fatal(err)
	}
	ns.Add(-int64(time.Hour)) // stepped back
	commit(t, s, change{oid: 0, data: rec("three", stay...), blob: "a blob"})
	begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
	err = act(s, r.Stamp)
	log = disk.Log()[begun:]
	if came = cut.Load(); !came && err != nil {
		t.Fatal(err)
	}
	_ = s.Close() // it was killed
	after := disk.Killed()
	o.fs = after
	if s, err = Open(t.Context(), "", o); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := errors.Join(s.WaitPack(t.Context()), s.WaitNormal(t.Context()), s.EnterSnapshot(t.Context(), "b")); err != nil {
		t.Fatal(err)
	}
	for name := range vfs.Walk(after, "A") {
		b, err := after.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := after.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		was, there := before[name]
		if (!there || was != string(b)) && !strings.HasSuffix(name, "-deleted") && info.ModTime.Before(requested) {
			t.Errorf("killed before %v: %s is new since the snapshot of %v, and its time is %v",
				at, name, requested.UTC().Format("15:04:05.000"), info.ModTime.UTC().Format("15:04:05.000"))
		}
	}
	return log, came
}

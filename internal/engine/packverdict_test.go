package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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

// relinked is a storage in which one pack condemns objects to which clients refer again before,
// while and after it removes, or fails to. Whichever way the pack ends, an object to which a
// finished transaction refers is there.
type relinked struct {
	t    *testing.T
	disk *crashfs.FS
	errs *errfs.FS
	hook *pausing
	s    *Storage

	oids   []zodb.OID
	linked []zodb.OID // the root refers to them now
}

func (r *relinked) data(oid zodb.OID) []byte { return rec("precious " + oid.String()) }

// newRelinked makes the storage, with everything in A and a few objects that the
// root does not refer to any more.
func newRelinked(t *testing.T, format layout.Format) *relinked {
	t.Helper()
	r := &relinked{t: t, disk: crashfs.New(1)}
	c := packCase{format: format, set: "storage.min_pack_time=0 storage.delay_delete=0"}
	if err := c.home(r.disk); err != nil {
		t.Fatal(err)
	}
	r.open(r.disk)
	r.oids = newOIDs(t, r.s, 4)
	changes := []change{{oid: 0, data: rec("root", r.oids...)}}
	for _, oid := range r.oids {
		changes = append(changes, change{oid: oid, data: r.data(oid)})
	}
	commit(t, r.s, changes...)
	commit(t, r.s, change{oid: 0, data: rec("root without")})
	commit(t, r.s, change{oid: 0, data: rec("root without again")})
	if err := errors.Join(r.s.WaitNormal(t.Context()), r.s.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *relinked) open(disk *crashfs.FS) {
	r.t.Helper()
	r.disk = disk
	r.errs = errfs.New(disk, nil)
	r.hook = &pausing{FS: r.errs}
	s, err := Open(context.Background(), "", scriptOptions(r.hook))
	if err != nil {
		r.t.Fatal(err)
	}
	r.s = s
	r.t.Cleanup(func() { s.Close() })
}

// link lets the root refer to an object again, if the storage lets it.
func (r *relinked) link(oid zodb.OID) {
	r.t.Helper()
	if slices.Contains(r.linked, oid) {
		return
	}
	want := append(slices.Clone(r.linked), oid)
	_, err := tryCommit(r.s, zodb.TxnMeta{}, change{oid: 0, data: rec("root with", want...)})
	switch {
	case err == nil:
		r.linked = want
	case errors.Is(err, zodb.ErrDangling), errors.Is(err, syscall.EIO), errors.Is(err, zodb.ErrDiskFull), errors.Is(err, zodb.ErrReadOnly):
	default:
		r.t.Fatalf("link %s: %v", oid, err)
	}
}

// look compares the targets of the root.
func (r *relinked) look(where string) {
	r.t.Helper()
	if len(r.linked) > 0 {
		if got := load(r.t, r.s, 0); got != string(rec("root with", r.linked...)) {
			r.t.Fatalf("%s: the root is %q", where, got)
		}
	}
	for _, oid := range r.linked {
		rev, err := r.s.Load(context.Background(), oid)
		if err != nil || string(rev.Data) != string(r.data(oid)) {
			r.t.Fatalf("%s: the root refers to %s: %v", where, oid, err)
		}
	}
}

// reopened goes on with another disk, waits for the pack if the storage is up to
// that, and looks.
func (r *relinked) reopened(where string, disk *crashfs.FS) *relinked {
	r.t.Helper()
	n := *r
	n.open(disk)
	if err := n.s.WaitPack(n.t.Context()); err != nil {
		n.t.Fatalf("%s: %v", where, err)
	}
	n.look(where)
	return &n
}

// endings lets the storage end in each way, and looks at the result of the next open.
func (r *relinked) endings(where string) {
	r.t.Helper()
	r.look(where)
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(1), crashfs.Random(2), crashfs.Random(3)} {
		r.reopened(fmt.Sprintf("%s, power cut %v", where, mode), r.disk.Crashed(mode)).s.Close()
	}
	// Killed; the next process works, and links the remaining objects; then the power is cut.
	n := *r
	where += ", killed and opened"
	n.open(r.disk.Killed())
	n.look(where)
	n.link(n.oids[2])
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.Random(1), crashfs.Random(2)} {
		n.reopened(fmt.Sprintf("%s, power cut %v", where, mode), n.disk.Crashed(mode)).s.Close()
	}
	if err := n.s.WaitPack(n.t.Context()); err != nil {
		n.t.Fatalf("%s: %v", where, err)
	}
	n.link(n.oids[3])
	for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.Random(1), crashfs.Random(2)} {
		n.reopened(fmt.Sprintf("%s, pack ended, power cut %v", where, mode), n.disk.Crashed(mode)).s.Close()
	}
	doPack(n.t, n.s, zodb.PackOptions{})
	n.look(where + ", packed")
	n.s.Close()
}

// inMisc reports whether an operation may touch the files of a pack in misc/.
func inMisc(op errfs.Op) bool {
	return strings.HasPrefix(op.Name, planFile) || op.Kind == "syncdir" && op.Name == "misc"
}

// TestErrorAtEveryOperationOfAPlan lets each operation that touches the files of a
// pack in misc/ fail, once, or from then on until the end of the process. An object
// that is condemned and that transactions refer to again, while the plan is made,
// when it has its name, or after the pack has failed, is there: at once, after a
// restart, after a power cut, and after both.
func TestErrorAtEveryOperationOfAPlan(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	var names []string
	var cases []planCase
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, forever := range []bool{false, true} {
			for _, c := range planCases() {
				c.cause, c.forever = cause, forever
				cases, names = append(cases, c), append(names, fmt.Sprintf("%s, %v, for ever %t, stopped %t", c.format, cause, forever, c.stopped))
			}
		}
	}
	ops := faulttest.SampledOf(t, hometest.OneOf(1, 5, 60), hometest.Phase(t), names, func(t *testing.T, c int, at faulttest.Nth, _ int) ([]string, bool) {
		return cases[c].relinkedWithError(t, at)
	})
	if ops < 8*len(cases) {
		t.Errorf("only %d operations", ops)
	}
}

// planCase is a pack in which something goes wrong with the files in misc/.
type planCase struct {
	format  layout.Format
	stopped bool // the pack is cancelled when it has begun to remove
	cause   error
	forever bool
}

func planCases() (cases []planCase) {
	for _, stopped := range []bool{false, true} {
		for _, format := range []layout.Format{layout.Chunky, layout.Bundled} {
			cases = append(cases, planCase{format: format, stopped: stopped})
		}
	}
	return cases
}

// relinkedWithError lets an operation on misc fail; the zero Nth: none. It returns the kinds of those operations, and whether
// that one came.
func (c planCase) relinkedWithError(t *testing.T, at faulttest.Nth) (ops []string, came bool) {
	t.Helper()
	r := newRelinked(t, c.format)
	defer func() { r.s.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	is, failed := at.Counter(), "none"
	r.errs.Decide(func(op errfs.Op) error {
		if !inMisc(op) {
			return nil
		}
		kind := faulttest.FailingKind(op)
		ops = append(ops, kind)
		switch {
		case is(kind):
			came, failed = true, op.Kind+" "+op.Name
			return c.cause
		case came && c.forever:
			return c.cause
		}
		return nil
	})
	r.hook.renamed = func(name string) {
		switch {
		case name == planFile:
			r.link(r.oids[0])
		case c.stopped && strings.HasPrefix(name, "A/"): // x.packed
			cancel()
		}
	}
	_, err := r.s.Pack(ctx, zodb.PackOptions{})
	where := fmt.Sprintf("%v fails (%s), pack: %v", at, failed, err)
	switch {
	case !came && !c.stopped && err != nil:
		t.Fatal(where)
	case !came && !c.stopped && exists(t, r.s, r.oids[1]):
		t.Fatal("the pack removed nothing")
	case c.stopped && err == nil && !came:
		t.Fatal("the pack was not stopped")
	case err != nil && came && !errors.Is(err, c.cause) && !c.stopped:
		t.Errorf("%s: want %v", where, c.cause)
	case strings.HasPrefix(failed, "remove "+planFile) && !errors.Is(err, c.cause):
		t.Errorf("%s: it was stopped, and hides the error of its end", where)
	}
	r.hook.renamed = nil
	r.link(r.oids[1])
	r.endings(where)
	// The pack after that, in the same process, ends, and keeps all referenced objects.
	r.errs.Decide(nil)
	if _, err := r.s.Pack(t.Context(), zodb.PackOptions{}); err != nil {
		t.Errorf("%s; the next pack: %v", where, err)
	}
	r.look(where + ", next pack")
	for _, name := range []string{planFile, planAside, sparedFile} {
		if _, err := r.disk.Stat(name); err == nil {
			t.Errorf("%s: %s is still there after the next pack", where, name)
		}
	}
	if err := r.s.Close(); err != nil {
		t.Errorf("%s: close: %v", where, err)
	}
	r.reopened(where+", closed", r.disk.Crashed(crashfs.KeepNone)).s.Close()
	return ops, came
}

// TestCrashAtEveryOperationOfAPlan kills the process, or cuts the power, before each
// operation that changes something in misc/ while a pack makes its plan and ends it.
func TestCrashAtEveryOperationOfAPlan(t *testing.T) {
	t.Parallel()
	cases := planCases()
	var names []string
	for _, c := range cases {
		names = append(names, fmt.Sprintf("%s, stopped %t", c.format, c.stopped))
	}
	ops := faulttest.SampledOf(t, hometest.OneOf(1, 4, 30), hometest.Phase(t), names, func(t *testing.T, c int, at faulttest.Nth, _ int) ([]string, bool) {
		return cases[c].relinkedWithCrash(t, at)
	})
	if ops < 8*len(cases) {
		t.Errorf("only %d operations", ops)
	}
}

// relinkedWithCrash kills the process before an operation on misc; the zero Nth: before none. It returns the kinds of those
// operations, and whether that one came.
func (c planCase) relinkedWithCrash(t *testing.T, at faulttest.Nth) (ops []string, came bool) {
	t.Helper()
	r := newRelinked(t, c.format)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	is := at.Counter()
	var disk *crashfs.FS
	r.errs.Decide(func(op errfs.Op) error {
		if inMisc(op) && op.Changes() {
			kind := faulttest.FailingKind(op)
			if ops = append(ops, kind); is(kind) {
				disk = r.disk.Killed()
			}
		}
		if disk != nil && op.Changes() {
			return syscall.EIO
		}
		return nil
	})
	r.hook.renamed = func(name string) {
		switch {
		case disk != nil:
		case name == planFile:
			r.link(r.oids[0])
		case c.stopped && strings.HasPrefix(name, "A/"): // x.packed
			cancel()
		}
	}
	_, err := r.s.Pack(ctx, zodb.PackOptions{})
	r.errs.Decide(nil)
	r.s.Close()
	if disk == nil {
		if (err != nil) != c.stopped {
			t.Fatalf("%v does not come: %v", at, err)
		}
		return ops, false
	}
	r.disk = disk
	where := fmt.Sprintf("before %v", at)
	modes := []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll}
	for seed := range uint32(10) {
		modes = append(modes, crashfs.Random(seed))
	}
	for _, mode := range modes {
		r.reopened(fmt.Sprintf("%s: power cut, %v", where, mode), disk.Crashed(mode)).s.Close()
	}
	// The next process starts in snapshot mode: it removes nothing until it may leave that.
	still, err := disk.Lock(sublockFile)
	if err != nil {
		t.Fatal(err)
	}
	r.open(disk)
	r.look(where + ": killed")
	// The first one may be spared already, by a transaction that was not finished.
	for _, oid := range r.oids[:2] {
		r.link(oid)
		for _, mode := range modes {
			r.reopened(fmt.Sprintf("%s: killed, opened, %s linked, power cut, %v", where, oid, mode), r.disk.Crashed(mode)).s.Close()
		}
	}
	if err := still.Close(); err != nil {
		t.Fatal(err)
	}
	r.endings(where + ": killed, opened")
	r.s.Close()
	return ops, true
}

// TestNothingOfAPackOutlivesClose: Close waits for the pack that is under way, wherever that is,
// and another process finds its leavings.
func TestNothingOfAPackOutlivesClose(t *testing.T) {
	t.Parallel()
	for _, at := range []string{planAside, planFile, "A/", "misc/counts"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			p := &pausing{}
			s := pausingStorage(t, p, "storage.delay_delete=0")
			x := newOIDs(t, s, 1)[0]
			commit(t, s, change{oid: 0, data: rec("root", x)}, change{oid: x, data: rec("precious")})
			commit(t, s, change{oid: 0, data: rec("root without")})
			commit(t, s, change{oid: 0, data: rec("root without 2")})
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			closed := make(chan error, 1)
			reached := false
			hook := func(name string) {
				if !reached && strings.HasPrefix(name, at) {
					reached = true
					go func() { closed <- s.Close() }()
					<-s.closing.Done()
					select {
					case <-closed:
						t.Error("Close has returned, and the pack goes on")
					case <-time.After(20 * time.Millisecond):
					}
				}
			}
			p.renamed, p.removed = hook, hook
			_, err := s.Pack(context.Background(), zodb.PackOptions{})
			if !reached || err != nil && !errors.Is(err, zodb.ErrClosed) {
				t.Errorf("pack: %v, reached %t", err, reached)
			}
			if err := <-closed; err != nil {
				t.Fatal(err)
			}
			p.renamed, p.removed = nil, nil
			if _, err := s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrClosed) {
				t.Errorf("pack after close: %v", err)
			}
			if err := s.WaitPack(t.Context()); !errors.Is(err, zodb.ErrClosed) {
				t.Errorf("wait for a pack after close: %v", err)
			}
			s = open(t, s.Home(), Options{})
			if err := s.WaitPack(t.Context()); err != nil {
				t.Error(err)
			}
			if err := errors.Join(s.Close(), sound(t.Context(), p.FS, false)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPackThatWaitsForItsTurnEndsWithClose: the one that has its turn is stopped, and
// the one that waits does not begin.
func TestPackThatWaitsForItsTurnEndsWithClose(t *testing.T) {
	t.Parallel()
	s := packStorage(t, Options{})
	commit(t, s, change{oid: 0, data: rec("root")})
	packed, end := make(chan struct{}), make(chan struct{})
	s.OnPacked(func() { close(packed); <-end })
	first := make(chan error, 1)
	go func() { _, err := s.Pack(context.Background(), zodb.PackOptions{}); first <- err }()
	<-packed // and it has its turn still
	ended := make(chan error, 1)
	go func() { _, err := s.Pack(context.Background(), zodb.PackOptions{}); ended <- err }()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	if err := <-ended; !errors.Is(err, zodb.ErrClosed) {
		t.Errorf("pack: %v", err)
	}
	select {
	case err := <-closed:
		t.Fatalf("Close did not wait: %v", err)
	default:
	}
	close(end)
	if err := <-first; err != nil {
		t.Errorf("the first pack: %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

// TestObjectThatIsMadeAnewSurvivesItsPack: a pack has removed an object and cannot go
// on; a client stores an object of that oid. The pack goes on, from the beginning.
func TestObjectThatIsMadeAnewSurvivesItsPack(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"object first", "reference first"} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %t", order, restart), func(t *testing.T) {
				t.Parallel()
				home := newHome(t, CreateOptions{Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}})
				dir, err := vfs.OS(home)
				if err != nil {
					t.Fatal(err)
				}
				f := errfs.New(dir, nil)
				s := open(t, home, Options{fs: f})
				x := newOIDs(t, s, 2)
				commit(t, s, change{oid: 0, data: rec("root", x[0])}, change{oid: x[0], data: rec("stays")})
				for i := range 3 { // these go, and the chain is linked past them
					commit(t, s, change{oid: x[1], data: rec(fmt.Sprint("garbage ", i))})
				}
				commit(t, s, change{oid: 0, data: rec("root again", x[0])})
				if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
					t.Fatal(err)
				}
				full{f}.set(func(op errfs.Op) bool {
					return strings.HasPrefix(op.Name, "A/") && !strings.Contains(op.Name, "packed")
				})
				if _, err := s.Pack(t.Context(), zodb.PackOptions{}); !errors.Is(err, zodb.ErrDiskFull) {
					t.Fatalf("pack: %v", err)
				}
				f.Decide(nil)
				if exists(t, s, x[1]) {
					t.Fatal("the pack has removed nothing")
				}
				list := []change{{oid: x[1], data: rec("made anew")}, {oid: 0, data: rec("root", x...)}}
				if order == "reference first" {
					list[0], list[1] = list[1], list[0]
				}
				commit(t, s, list...)
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				if restart {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
					s = open(t, home, Options{})
					if err := s.WaitPack(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				doPack(t, s, zodb.PackOptions{})
				if got := load(t, s, x[1]); got != string(rec("made anew")) {
					t.Errorf("the object is %q", got)
				}
				if err := errors.Join(s.Close(), sound(t.Context(), dir, false)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

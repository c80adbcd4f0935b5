package refindex

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const testTID = zodb.TID(0x03F6ED1800000000)

var durable = vfs.SyncOptions{File: true, Dir: true}

// model is an index in memory: targets, and who refers to them.
type model map[zodb.OID]map[zodb.OID]bool

func (m model) add(p pair) {
	if m[p.to] == nil {
		m[p.to] = make(map[zodb.OID]bool)
	}
	m[p.to][p.from] = true
}

func modelOf(pairs []pair) model {
	m := make(model)
	for _, p := range pairs {
		m.add(p)
	}
	return m
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newFS returns a file system with a directory misc.
func newFS(t testing.TB) *crashfs.FS {
	t.Helper()
	f := crashfs.New(1)
	ok(t, f.Mkdir("misc"))
	ok(t, f.SyncDir("."))
	return f
}

// write makes an index with as little memory as there can be.
func write(f vfs.FS, tid zodb.TID, pairs []pair) (stats Stats, err error) {
	w, err := New(f, "misc", tid, 0)
	if err != nil {
		return Stats{}, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	for _, p := range pairs {
		if err := w.Add(p.from, p.to); err != nil {
			return Stats{}, err
		}
	}
	return w.Finish(context.Background(), durable)
}

// read returns all referrers of targets.
func read(f vfs.FS, targets []zodb.OID) (tid zodb.TID, m model, err error) {
	r, err := Open(f, "misc/refs")
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	m = make(model)
	for _, to := range targets {
		last := zodb.OID(0)
		for from, err := range r.Referrers(to) {
			if err != nil {
				return 0, nil, err
			}
			if m[to] != nil && from <= last {
				return 0, nil, fmt.Errorf("%s: %s after %s", to, from, last)
			}
			last = from
			m.add(pair{to, from})
		}
	}
	return r.TID(), m, nil
}

// targets returns the targets of a model and their neighbours.
func (m model) targets() []zodb.OID {
	near := make(map[zodb.OID]bool)
	for to := range m {
		near[to-1], near[to], near[to+1] = true, true, true
	}
	return slices.Sorted(maps.Keys(near))
}

// verify compares the index with a model.
func (m model) verify(t testing.TB, f vfs.FS, tid zodb.TID) {
	t.Helper()
	got, found, err := read(f, m.targets())
	ok(t, err)
	if got != tid {
		t.Errorf("tid %s, want %s", got, tid)
	}
	if !maps.EqualFunc(m, found, maps.Equal) { // cmp alone takes long
		t.Errorf("referrers (-want +got):\n%s", cmp.Diff(m, found))
	}
}

// files returns the names in misc.
func files(t testing.TB, f vfs.FS) (names []string) {
	t.Helper()
	for e, err := range f.List("misc") {
		ok(t, err)
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

// graph makes references as a database has them, and others.
func graph(seed uint64, n int) []pair {
	random := rand.New(rand.NewPCG(seed, 0))
	pairs := make([]pair, n)
	for i := range pairs {
		from := zodb.OID(random.Uint64N(300))
		switch random.IntN(20) {
		case 0:
			pairs[i] = pair{to: 7, from: from} // everybody's
		case 1:
			pairs[i] = pair{to: zodb.OID(random.Uint64()), from: zodb.OID(random.Uint64())}
		case 2:
			pairs[i] = pair{to: math.MaxUint64 - zodb.OID(random.Uint64N(3)), from: zodb.OID(random.Uint64N(3))}
		case 3:
			pairs[i] = pair{to: zodb.OID(random.Uint64N(3)), from: math.MaxUint64 - zodb.OID(random.Uint64N(3))}
		default:
			pairs[i] = pair{to: from + zodb.OID(random.Uint64N(30)), from: from}
		}
	}
	return pairs
}

func TestReferrersAreThoseThatWereAdded(t *testing.T) {
	t.Parallel()
	for seed, n := range []int{0, 1, minRun - 1, minRun, minRun + 1, 3000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			f, pairs := newFS(t), graph(uint64(seed), n)
			stats, err := write(f, testTID, pairs)
			ok(t, err)
			m := modelOf(pairs)
			m.verify(t, f, testTID)
			info, err := f.Stat("misc/refs")
			ok(t, err)
			want := Stats{Targets: int64(len(m)), Bytes: info.Size}
			for _, from := range m {
				want.References += int64(len(from))
			}
			if stats != want {
				t.Errorf("stats %+v, want %+v", stats, want)
			}
			if names := files(t, f); !slices.Equal(names, []string{"refs"}) {
				t.Errorf("left behind: %v", names)
			}
		})
	}
}

func TestReferrersOfOneMayFillManyBlocks(t *testing.T) {
	t.Parallel()
	f := newFS(t)
	pairs := []pair{{5, 1}, {7, 1}}
	for i := range zodb.OID(30_000) {
		pairs = append(pairs, pair{6, i * 1000})
	}
	_, err := write(f, testTID, pairs)
	ok(t, err)
	modelOf(pairs).verify(t, f, testTID)
	r, err := Open(f, "misc/refs")
	ok(t, err)
	defer r.Close()
	if len(r.firsts) < 4 {
		t.Errorf("%d blocks", len(r.firsts))
	}
	for range r.Referrers(6) {
		break // one may stop early
	}
}

func TestAddMayBeCalledConcurrently(t *testing.T) {
	t.Parallel()
	f, pairs := newFS(t), graph(3, 8000)
	w, err := New(f, "misc", testTID, 4096)
	ok(t, err)
	var wait sync.WaitGroup
	for part := range slices.Chunk(pairs, len(pairs)/8) {
		wait.Go(func() {
			for _, p := range part {
				if err := w.Add(p.from, p.to); err != nil {
					t.Error(err)
				}
			}
			w.Skip(part[0].from%2 == 0)
		})
	}
	wait.Wait()
	if len(w.runs) < 60 {
		t.Errorf("%d runs", len(w.runs))
	}
	stats, err := w.Finish(t.Context(), durable)
	ok(t, err)
	if stats.Skipped != 8 {
		t.Errorf("%d were skipped", stats.Skipped)
	}
	modelOf(pairs).verify(t, f, testTID)
	if err := w.Add(1, 2); !errors.Is(err, errEnded) {
		t.Errorf("add after the end: %v", err)
	}
	if _, err := w.Finish(t.Context(), durable); !errors.Is(err, errEnded) {
		t.Errorf("finish after the end: %v", err)
	}
	ok(t, w.Abort())
}

func TestThereIsOneWriterAtATime(t *testing.T) {
	t.Parallel()
	dir, err := vfs.OS(t.TempDir())
	ok(t, err)
	ok(t, dir.Mkdir("misc"))
	for name, f := range map[string]vfs.FS{"crashfs": newFS(t), "os": dir} {
		w, err := New(f, "misc", 1, 0)
		ok(t, err)
		_, err = New(f, "misc", 2, 0)
		if locked, is := errors.AsType[*vfs.LockedError](err); !is || locked.PID == 0 {
			t.Errorf("%s: %v", name, err)
		}
		for i := range zodb.OID(10 * minRun) {
			ok(t, w.Add(i, 1))
		}
		_, err = New(f, "misc", 2, 0)
		// The process stays readable when runs follow it.
		if locked, is := errors.AsType[*vfs.LockedError](err); !is || locked.PID == 0 && f == dir {
			t.Errorf("%s, with runs: %v", name, err)
		}
		ok(t, w.Abort())
		if names := files(t, f); len(names) > 0 {
			t.Errorf("%s: abort left %v", name, names)
		}
		_, err = write(f, 2, []pair{{1, 2}})
		ok(t, err)
		modelOf([]pair{{1, 2}}).verify(t, f, 2)
	}
}

func TestLeftoversOfAKilledWriterAreReplaced(t *testing.T) {
	t.Parallel()
	f := newFS(t)
	before, pairs := graph(4, 500), graph(5, 1000)
	_, err := write(f, 1, before)
	ok(t, err)
	w, err := New(f, "misc", 2, 0)
	ok(t, err)
	for _, p := range pairs {
		ok(t, w.Add(p.from, p.to))
	}
	_, err = vfs.Put(f, "misc/refs.new", []byte("half of it"), false)
	ok(t, err)
	killed := f.Killed()
	if names := files(t, killed); !slices.Equal(names, []string{"refs", "refs.new", "refs.tmp"}) {
		t.Fatalf("there is %v", names)
	}
	modelOf(before).verify(t, killed, 1)
	_, err = write(killed, 3, pairs)
	ok(t, err)
	modelOf(pairs).verify(t, killed, 3)
	if names := files(t, killed); !slices.Equal(names, []string{"refs"}) {
		t.Errorf("left behind: %v", names)
	}
}

// TestIndexIsReplacedWholeOrNotAtAll cuts the power at each operation.
func TestIndexIsReplacedWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	before, after := graph(6, 150), graph(7, 150)
	scenario := func(f *crashfs.FS) error {
		_, err := write(f, 2, after)
		return err
	}
	begin := func() *crashfs.FS {
		f := newFS(t)
		_, err := write(f, 1, before)
		ok(t, err)
		return f
	}
	f := begin()
	from := f.Ops() + 1
	ok(t, scenario(f))
	for n := from; n <= f.Ops()+1; n++ {
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(1), crashfs.Random(2)} {
			f := begin()
			f.CrashAt(n)
			err := scenario(f)
			disk := f.Crashed(mode)
			tid, _, rerr := read(disk, nil)
			if rerr != nil || tid == 1 && err == nil {
				t.Fatalf("crash at %d, %s: tid %s after %v, %v", n, mode, tid, err, rerr)
			}
			want := before
			if tid == 2 {
				want = after
			}
			modelOf(want).verify(t, disk, tid)
			_, err = write(disk, 3, after)
			ok(t, err)
			modelOf(after).verify(t, disk, 3)
		}
	}
}

// TestEachErrorIsReported fails each operation once.
func TestEachErrorIsReported(t *testing.T) {
	t.Parallel()
	before, after := graph(8, 250), graph(9, 250)
	for n := 1; ; n++ {
		inner := newFS(t)
		_, err := write(inner, 1, before)
		ok(t, err)
		var failed errfs.Op
		broken := errors.New("broken")
		f := errfs.New(inner, func(op errfs.Op) error {
			if op.N == n {
				failed = op
				return broken
			}
			return nil
		})
		_, err = write(f, 2, after)
		if failed.N == 0 {
			ok(t, err)
			if n < 15 {
				t.Errorf("only %d operations", n)
			}
			return
		}
		if !errors.Is(err, broken) {
			t.Errorf("%+v: %v", failed, err)
		}
		tid, _, err := read(inner, nil)
		ok(t, err)
		if tid == 1 {
			modelOf(before).verify(t, inner, 1)
		} else {
			modelOf(after).verify(t, inner, 2)
		}
		if names := files(t, inner); !slices.Equal(names, []string{"refs"}) && failed.Kind != "remove" {
			t.Errorf("%+v: left behind: %v", failed, names)
		}
		// A close that failed leaves the lock of this test's process behind.
		inner = inner.Killed()
		_, err = write(inner, 3, after)
		ok(t, err)
		modelOf(after).verify(t, inner, 3)
	}
}

func TestDamagedBytesAreErrors(t *testing.T) {
	t.Parallel()
	f, pairs := newFS(t), graph(10, 200)
	_, err := write(f, testTID, pairs)
	ok(t, err)
	whole, err := f.ReadFile("misc/refs")
	ok(t, err)
	targets := modelOf(pairs).targets()
	refused := func(what string, data []byte) {
		t.Helper()
		f := newFS(t)
		_, err := vfs.Put(f, "misc/refs", data, false)
		ok(t, err)
		_, _, err = read(f, targets)
		damage, is := errors.AsType[*zodb.CorruptError](err)
		if !is || damage.Path != "misc/refs" || !errors.Is(err, zodb.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 1 << (i % 8)
		refused(fmt.Sprintf("byte %d", i), damaged)
		refused(fmt.Sprintf("cut off after %d", i), whole[:i])
	}
	refused("a byte more", append(slices.Clone(whole), 0))
	_, err = Open(newFS(t), "misc/refs")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no index: %v", err)
	}
}

func TestDamageIsFoundInItsBlockOnly(t *testing.T) {
	t.Parallel()
	f := newFS(t)
	var pairs []pair
	for i := range zodb.OID(30_000) {
		pairs = append(pairs, pair{i, i * i})
	}
	_, err := write(f, testTID, pairs)
	ok(t, err)
	data, err := f.ReadFile("misc/refs")
	ok(t, err)
	data[headerSize+blockHead] ^= 1
	ok(t, f.Remove("misc/refs"))
	_, err = vfs.Put(f, "misc/refs", data, false)
	ok(t, err)
	if _, _, err := read(f, []zodb.OID{29_000}); err != nil {
		t.Errorf("in another block: %v", err)
	}
	if _, _, err := read(f, []zodb.OID{0}); !errors.Is(err, zodb.ErrCorrupt) {
		t.Errorf("in its block: %v", err)
	}
}

func TestFinishCanBeInterrupted(t *testing.T) {
	t.Parallel()
	f := newFS(t)
	_, err := write(f, 1, []pair{{1, 2}})
	ok(t, err)
	w, err := New(f, "misc", 2, 0)
	ok(t, err)
	ok(t, w.Add(3, 4))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Finish(ctx, durable); !errors.Is(err, ctx.Err()) {
		t.Error(err)
	}
	modelOf([]pair{{1, 2}}).verify(t, f, 1)
	if names := files(t, f); !slices.Equal(names, []string{"refs"}) {
		t.Errorf("left behind: %v", names)
	}
}

func FuzzOpen(f *testing.F) {
	dir := newFS(f)
	if _, err := write(dir, testTID, graph(11, 50)); err != nil {
		f.Fatal(err)
	}
	seed, err := dir.ReadFile("misc/refs")
	ok(f, err)
	f.Add(seed, uint64(7), false)
	f.Add(seed[:headerSize], uint64(0), true)
	f.Add([]byte{}, uint64(0), true)
	f.Fuzz(func(t *testing.T, data []byte, oid uint64, fix bool) {
		if fix {
			data = withSums(slices.Clone(data))
		}
		dir := newFS(t)
		_, err := vfs.Put(dir, "misc/refs", data, false)
		ok(t, err)
		// With any content of the file, the items read from it ascend.
		_, _, err = read(dir, []zodb.OID{zodb.OID(oid)})
		if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
			t.Error(err)
		}
	})
}

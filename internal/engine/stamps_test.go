package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/check/checktest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// copied is a copy of A, and when its snapshot was asked for.
type copied struct {
	asked time.Time
	files map[string]fileState
}

// stampsRun is a storage of which increments are copied, by the times of files and without
// deletions, while it commits, packs, undeletes, gives space back, and its clock is set.
type stampsRun struct {
	c      packCase
	disk   *crashfs.FS
	heap   *crashfs.FS // all increments over each other
	rsyncs []*rsyncer
	o      Options
	s      *Storage
	m      *packModel
	rnd    *rand.Rand
	now    atomic.Int64 // nanoseconds
	off    atomic.Int64 // how far the clock of the disk is ahead
	aside  bool         // packs put aside
	copies []copied
}

// step does something by chance.
func (r *stampsRun) step(ctx context.Context) (what string, err error) {
	switch n := r.rnd.IntN(40); {
	case n < 16:
		return "commit", r.commit(ctx)
	case n < 23:
		return "flush", r.s.Flush(ctx)
	case n < 26:
		return "pack", r.pack(ctx)
	case n < 28:
		return "undelete", r.undelete(ctx)
	case n < 30:
		return "giving space back", r.s.worker.Reclaim(ctx, 0)
	case n < 32:
		r.now.Add((r.rnd.Int64N(3) - 1) * int64(time.Hour))
		r.off.Store(r.rnd.Int64N(5e9) - 2.5e9)
		return "the clock", nil
	case n < 34:
		if err := r.s.Close(); err != nil {
			return "close", err
		}
		r.s, err = Open(ctx, "", r.o)
		if err == nil {
			err = r.s.WaitNormal(ctx)
		}
		return "open", err
	}
	return "snapshot", r.snapshot(ctx)
}

func (r *stampsRun) commit(ctx context.Context) error {
	err := r.m.commit(ctx, r.s, r.rnd)
	if errors.Is(err, zodb.ErrDangling) || errors.Is(err, zodb.ErrUndo) {
		return nil // an undo took away an object to which a change refers
	}
	return err
}

func (r *stampsRun) pack(ctx context.Context) error {
	if len(r.m.txns) < 3 {
		return nil
	}
	p, err := r.s.Pack(ctx, zodb.PackOptions{Time: r.m.txns[r.rnd.IntN(len(r.m.txns))].tid.Time()})
	if err == nil {
		r.m.pack(p.Threshold, true)
	}
	return err
}

// undelete takes all packs back; nothing that was put aside is old enough to be gone for good.
func (r *stampsRun) undelete(ctx context.Context) error {
	if !r.aside {
		return nil
	}
	_, err := r.s.Undelete(ctx, 0)
	for _, t := range r.m.txns {
		r.m.add(t)
	}
	r.m.txns = r.m.txns[:len(r.m.txns)/2] // each was added once more
	return err
}

// snapshot copies an increment, and the files that rsync takes for changed, and compares the heaps
// with the storage.
func (r *stampsRun) snapshot(ctx context.Context) error {
	asked := r.o.Clock()
	if err := r.s.EnterSnapshot(ctx, "a"); err != nil {
		return err
	}
	is, err := stateOf(r.disk, "A")
	if err != nil {
		return err
	}
	since := time.Time{}
	if len(r.copies) > 0 {
		since = r.copies[len(r.copies)-1].asked
	}
	for _, before := range r.copies {
		if err := looksNew(before, is); err != nil {
			return err
		}
	}
	if err := r.lay(is, since); err != nil {
		return err
	}
	r.copies = append(r.copies, copied{asked, is})
	if err := r.heapIs(ctx, r.heap); err != nil {
		return fmt.Errorf("the heap of %d increments: %w", len(r.copies), err)
	}
	for _, copier := range r.rsyncs {
		if err := errors.Join(copier.lay(is), r.heapIs(ctx, copier.copy)); err != nil {
			return fmt.Errorf("the heap of %d runs of %s: %w", len(r.copies), copier.name, err)
		}
	}
	for range r.rnd.IntN(5) {
		if err := errors.Join(r.commit(ctx), r.s.Flush(ctx)); err != nil {
			return err
		}
	}
	return errors.Join(r.s.LeaveSnapshot(ctx, "a"), r.s.WaitNormal(ctx))
}

// looksNew returns an error if a file that is new or changed since a copy has a time before it, or looks
// to rsync like the one that was there.
func looksNew(before copied, is map[string]fileState) error {
	for name, f := range is {
		if f.IsDir() || strings.HasSuffix(name, "-deleted") {
			continue // files put aside need not be copied
		}
		was, there := before.files[name]
		if there && was.content == f.content && was.ModTime.Equal(f.ModTime) {
			continue
		}
		if f.ModTime.Before(before.asked) {
			return fmt.Errorf("%s came or changed after a snapshot that was asked for at %s, and has the time %s", name, before.asked, f.ModTime)
		}
		if !there || was.content == f.content {
			continue
		}
		if strings.HasPrefix(name, "A/bundles/") || strings.HasSuffix(name, ".blob") {
			return fmt.Errorf("%s has other content than in a snapshot before", name)
		}
		if len(was.content) == len(f.content) && was.ModTime.Unix() == f.ModTime.Unix() {
			return fmt.Errorf("%s has other content, and the size and second of before", name)
		}
	}
	return nil
}

// lay copies the files that are no older than a moment over the heap.
func (r *stampsRun) lay(is map[string]fileState, since time.Time) error {
	for _, name := range slices.Sorted(maps.Keys(is)) {
		f := is[name]
		if f.IsDir() {
			if _, err := vfs.MkdirAll(r.heap, name); err != nil {
				return err
			}
			continue
		}
		if f.ModTime.Before(since) {
			continue
		}
		if err := vfs.WriteFileAtomic(r.heap, "aside", name, []byte(f.content), vfs.SyncOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// heapIs opens the heap and compares it with the storage, which has committed nothing since.
func (r *stampsRun) heapIs(ctx context.Context, heap *crashfs.FS) error {
	o := r.o
	o.fs, o.ReadOnly = heap, true
	s, err := Open(ctx, "", o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := r.m.verify(ctx, s); err != nil {
		return err
	}
	want, err := allTIDs(ctx, r.s)
	if err != nil {
		return err
	}
	got, err := allTIDs(ctx, s)
	if r.c.format != layout.Bundled && len(got) > len(want) {
		got = got[len(got)-len(want):] // the files of the first ones that packs removed are there
	}
	if err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("it has the transactions %v, want %v: %w", got, want, err)
	}
	if r.c.format == layout.Bundled {
		// Removals of packs do not come back.
		if got, want := membersOf(heap), r.m.names(layout.Bundled); !slices.Equal(withoutBlobs(got), withoutBlobs(want)) {
			return errors.New(difference(want, got))
		}
	}
	if err := s.Close(); err != nil {
		return err
	}
	_, err = checktest.Undamaged(ctx, heap)
	return err
}

// withoutBlobs leaves the names of blobs out: those of packed revisions stay in copies without deletions.
func withoutBlobs(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.HasSuffix(name, ".blob") })
}

func allTIDs(ctx context.Context, s *Storage) (list []zodb.TID, err error) {
	for txn, err := range s.Transactions(ctx, 0, 0) {
		if err != nil {
			return nil, err
		}
		list = append(list, txn.TID)
	}
	return list, nil
}

// TestIncrementsByTimeAreWhole: at any work of a storage, a file that comes into A or changes after
// the request of a snapshot has a time not before it. Copies of the newer files, laid over each
// other without deletions, are the newest state.
func TestIncrementsByTimeAreWhole(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	steps := hometest.OneOf(120, 40, 40)
	for i := range hometest.Rounds(t, 2) {
		for _, format := range allFormats() {
			c := packCase{format: format, seed: uint64(i) + 1800, set: []string{
				"storage.min_pack_time=0 storage.delay_delete=1000000000", "storage.min_pack_time=0 storage.delay_delete=0",
			}[i%2]}
			t.Run(fmt.Sprintf("seed %d %s %s", c.seed, c.format, c.set), func(t *testing.T) {
				t.Parallel()
				incrementsAreWhole(t, c, steps)
			})
		}
	}
}

func incrementsAreWhole(t *testing.T, c packCase, steps int) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := &stampsRun{c: c, disk: crashfs.New(1), heap: crashfs.New(2), rsyncs: newRsyncers(false), rnd: rand.New(rand.NewPCG(c.seed, 18)), m: c.newModel(), aside: !strings.HasSuffix(c.set, "=0")}
	if err := c.home(r.disk); err != nil {
		t.Fatal(err)
	}
	r.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	r.o = scriptOptions(r.disk)
	r.o.Clock = func() time.Time { return time.Unix(0, r.now.Add(int64(time.Millisecond))) }
	r.disk.SetClock(func() time.Time { return r.o.Clock().Add(time.Duration(r.off.Load())) })
	heaps := []*crashfs.FS{r.heap}
	for _, copier := range r.rsyncs {
		heaps = append(heaps, copier.copy)
	}
	for _, heap := range heaps {
		err := copyFiles(r.disk, heap, "config")
		for _, dir := range []string{"B", "journal", "misc"} {
			err = errors.Join(err, heap.Mkdir(dir))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if r.s, err = Open(ctx, "", r.o); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.s.Close() }() // it may be closed
	if err := r.s.WaitNormal(ctx); err != nil {
		t.Fatal(err)
	}
	for range 9 {
		if err := errors.Join(r.commit(ctx), r.s.Flush(ctx)); err != nil {
			t.Fatal(err)
		}
	}
	if c.format == layout.Bundled {
		eventually(t, "merges", func() bool { return len(bundlesOf(t, r.disk, "A")) < 6 })
	}
	for i := range steps {
		if what, err := r.step(ctx); err != nil {
			t.Fatalf("step %d, %s: %v", i, what, err)
		}
	}
	if err := r.snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if len(r.copies) < 3 {
		t.Errorf("only %d copies were made", len(r.copies))
	}
}

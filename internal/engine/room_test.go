//go:build linux

package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// smallWrites commits transactions of some small objects, which take up little in the
// log and much in files.
type smallWrites struct {
	objects int
	want    map[zodb.OID]string
	next    zodb.OID
}

func (w *smallWrites) commit(s *Storage) error {
	changes := make([]change, w.objects)
	for i := range changes {
		w.next++
		changes[i] = change{oid: w.next, data: rec(fmt.Sprint("small", w.next))}
	}
	_, err := tryCommit(s, zodb.TxnMeta{}, changes...)
	if err == nil {
		for _, c := range changes {
			w.want[c.oid] = string(c.data)
		}
	}
	return err
}

func (w *smallWrites) untilRefused(t *testing.T, s *Storage) (commits int) {
	t.Helper()
	for range 5000 {
		err := w.commit(s)
		if errors.Is(err, zodb.ErrDiskFull) {
			if !strings.Contains(err.Error(), "no space left") && !strings.Contains(err.Error(), "make room") {
				t.Errorf("what is wrong and what to do is not in %q", err)
			}
			return commits
		}
		if err != nil {
			t.Fatal(err)
		}
		commits++
	}
	t.Fatal("no commit was refused")
	return 0
}

func (w *smallWrites) areThere(t *testing.T, s *Storage) {
	t.Helper()
	for oid, want := range w.want {
		if got := load(t, s, oid); got != want {
			t.Fatalf("object %s is %q, acknowledged was %q", oid, got, want)
		}
	}
}

// TestWhatIsAcknowledgedFitsIntoTheReserve: on a full disk the log goes on taking commits for a
// while. The pack that makes room can flush them into the space of the reserve; so can another
// process after this one was killed.
func TestWhatIsAcknowledgedFitsIntoTheReserve(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	phase := hometest.Phase(t)
	for n := range 8 {
		if hometest.RaceDetector && (bits.OnesCount(uint(n))+phase)%2 == 1 {
			continue // four of the eight, the others on the next day
		}
		killed, slowly, format := n&1 != 0, n&2 != 0, []layout.Format{layout.Bundled, layout.Chunky}[n>>2]
		if testing.Short() && (killed == slowly || killed != (format == layout.Bundled)) {
			continue // two of the eight, one of each format
		}
		t.Run(fmt.Sprintf("%s, killed %t, slowly %t", format, killed, slowly), func(t *testing.T) {
			t.Parallel()
			disk := smallDisk(t, 96<<20)
			home := filepath.Join(disk, "home")
			if err := Create(home, CreateOptions{Format: string(format), Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0", "filesystem.quick_shutdown": "1"}}); err != nil {
				t.Fatal(err)
			}
			o := Options{SegmentSize: 1 << 20, Reserve: 4 << 20, LowSpace: 16 << 20, RetryInterval: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
			s := open(t, home, o)
			eventually(t, "a reserve", func() bool { return s.space.HasReserve(4 << 20) })
			big := incompressible(200 << 10)
			for i := range 100 {
				commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i) + big)})
			}
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			w := &smallWrites{objects: 20, want: make(map[zodb.OID]string)}
			if slowly { // somebody else fills it up, while commits go on
				for i := 0; w.commit(s) == nil && i < 2000; i++ {
					if i%10 == 0 {
						fillSome(t, filepath.Join(disk, fmt.Sprint("filler", i)), 1<<20)
					}
				}
			}
			fillUp(t, filepath.Join(disk, "filler"))
			s.space.Room() // as it does ten times a second
			commits := w.untilRefused(t, s)
			t.Logf("%d commits on the full disk", commits)
			if commits == 0 && !slowly {
				t.Error("the reserve lets no commit in")
			}
			fillUp(t, filepath.Join(disk, "filler-at-last"))
			if killed {
				if err := s.Close(); err != nil { // as it is
					t.Fatal(err)
				}
				s = open(t, home, o)
			}
			if _, err := s.Pack(t.Context(), zodb.PackOptions{NoGC: true}); err != nil {
				t.Fatalf("pack: %v, status %+v", err, s.Status())
			}
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			w.areThere(t, s)
			eventually(t, "commits", func() bool { return w.commit(s) == nil })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			homeIsSound(t, home)
		})
	}
}

// fillSome writes a file of so many bytes, or as many as there are.
func fillSome(t *testing.T, name string, n int) {
	t.Helper()
	if err := os.WriteFile(name, make([]byte, n), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// TestInodesForWhatIsAcknowledged: a file system without inodes refuses commits while
// those that it has are enough for the log. A store of bundles takes one for each
// flush, and never lacks any.
func TestInodesForWhatIsAcknowledged(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 96<<20)
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_REMOUNT, "nr_inodes=3000"); err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(disk, "home")
	if err := Create(home, CreateOptions{Format: string(layout.Chunky)}); err != nil {
		t.Fatal(err)
	}
	s := open(t, home, Options{SegmentSize: 1 << 20, RetryInterval: 10 * time.Millisecond})
	w := &smallWrites{objects: 20, want: make(map[zodb.OID]string)}
	if n := w.untilRefused(t, s); n < 50 {
		t.Errorf("%d commits of 20 objects into 3000 inodes", n)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatalf("flush: %v, status %+v", err, s.Status())
	}
	w.objects = 1
	w.untilRefused(t, s)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatalf("flush: %v, status %+v", err, s.Status())
	}
	if st := s.Status(); st.TroubleKind != zodb.TroubleDisk || !strings.Contains(st.Trouble, "inodes") || st.ReadOnly {
		t.Errorf("status %+v", st)
	}
	w.areThere(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestFlushesBecomeSmallOnAFullDisk: a batch that does not fit into the free space would fail half
// way, each time. It is flushed transaction by transaction, and the log is given back meanwhile.
func TestFlushesBecomeSmallOnAFullDisk(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{Set: map[string]string{"filesystem.quick_shutdown": "1"}})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	disk := &changingDisk{FS: dir}
	disk.free.Store(50 << 30)
	const segment = 256 << 10
	s := open(t, home, Options{fs: disk, SegmentSize: segment})
	const n = 12
	for i := range n {
		commit(t, s, change{oid: zodb.OID(i), data: rec(fmt.Sprint(i) + strings.Repeat("x", 100<<10))})
	}
	before := s.Status().JournalBytes
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{}) // flushes begin before that, since the disk is full
	seen := &flushSizes{}
	seen.each = func() {
		<-opened
		seen.log = append(seen.log, s.journal.Stats().Bytes)
	}
	disk.free.Store(200 << 10)
	s = open(t, home, Options{fs: disk, SegmentSize: segment, Observer: seen, History: HistoryKept})
	close(opened)
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.sizes) != n-1 && len(seen.sizes) != n || slices.Max(seen.sizes) > 2 {
		t.Errorf("flushes of %v transactions", seen.sizes)
	}
	if half := seen.log[len(seen.log)*3/4]; half > before/2 {
		t.Errorf("after three quarters of the flushes the log has %d bytes of %d", half, before)
	}
}

// flushSizes is an observer of flushes.
type flushSizes struct {
	nobody
	mu    sync.Mutex
	sizes []int
	log   []int64
	each  func()
}

func (f *flushSizes) Flushed(_ time.Duration, transactions, _ int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sizes = append(f.sizes, transactions)
	if f.each != nil {
		f.each()
	}
}

// TestLargeTransactionNeedsRoom: one that has no room is refused at once, and says how
// much it takes; one that is alone may take half of the free space.
func TestLargeTransactionNeedsRoom(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	disk := &changingDisk{FS: dir}
	disk.free.Store(10 << 20)
	s := open(t, home, Options{fs: disk, History: HistoryKept})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec(strings.Repeat("x", 6<<20))})
	if !errors.Is(err, zodb.ErrDiskFull) || !strings.Contains(err.Error(), "10.0 MiB are free") {
		t.Errorf("6 MiB into 10 MiB: %v", err)
	}
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec(strings.Repeat("x", 4<<20))}); err != nil {
		t.Errorf("4 MiB into 10 MiB: %v", err)
	}
	if promised := s.state.Report(state.Footprint{}).Demand.Promised; promised != (state.Footprint{}) {
		t.Errorf("%+v are promised to nobody", promised)
	}
}

// TestLargeTransactionIsNotPassedByForEver: one that needs the log for itself gets it, while
// others commit all the time.
func TestLargeTransactionIsNotPassedByForEver(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	disk := &changingDisk{FS: dir}
	disk.free.Store(20 << 20)
	// Nobody here waits for long, so nobody's patience ends.
	s := open(t, home, Options{fs: disk, History: HistoryKept, RetryInterval: time.Hour})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// So many small ones that never one of them is the only one.
	txns := make([]*txn.Txn, 4)
	vote := func(i, n int) {
		txn, err := s.txns.Begin(t.Context(), zodb.TxnMeta{}, zodb.BeginOptions{})
		if err == nil {
			err = errors.Join(fill(s, txn, change{oid: zodb.OID(10 + i), data: rec(fmt.Sprint(n))}), txn.Vote(t.Context()))
		}
		if err != nil {
			t.Error(err)
			return
		}
		txns[i] = txn
	}
	for i := range 3 {
		vote(i, 0)
	}
	// The largest that has room alone: half of the free space.
	size := 10 << 20
	for cost := int64(size) + 1; cost > 10<<20; size -= 1 << 10 {
		cost = s.store.Cost(state.Outline(&zodb.TxnMeta{}, 1, func(yield func(size int64, first, blob bool)) { yield(int64(size), true, false) })).Bytes
	}
	large := make(chan error, 1)
	go func() {
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec(strings.Repeat("x", size))})
		large <- err
	}()
	waits := func(n int) func() bool {
		return func() bool { return s.state.Report(state.Footprint{}).Demand.Waiting == n }
	}
	eventually(t, "the large one waits", waits(1))
	voted := make(chan struct{})
	go func() { // behind it
		defer close(voted)
		vote(3, 1)
	}()
	eventually(t, "a small one waits behind it", waits(2))
	for _, txn := range txns[:3] {
		if _, err := txn.Finish(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	if err := <-large; err != nil {
		t.Errorf("the large one: %v", err)
	}
	<-voted
	if _, err := txns[3].Finish(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if d := s.state.Report(state.Footprint{}).Demand; d.Promised != (state.Footprint{}) || d.Waiting != 0 {
		t.Errorf("%+v", d)
	}
}

// TestFootprintIsNoLess: a flush takes up no more of the disk than its estimate.
func TestFootprintIsNoLess(t *testing.T) {
	t.Parallel()
	for _, format := range allFormats() {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			disk := smallDisk(t, 96<<20)
			home := filepath.Join(disk, "home")
			if err := Create(home, CreateOptions{Format: string(format)}); err != nil {
				t.Fatal(err)
			}
			s := open(t, home, Options{SegmentSize: 1 << 20})
			w := &smallWrites{objects: 20, want: make(map[zodb.OID]string)}
			if err := errors.Join(s.WaitNormal(t.Context()), w.commit(s), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			before, err := s.home.FS.Space()
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if err := w.commit(s); err != nil {
					t.Fatal(err)
				}
			}
			thought := s.state.Report(state.Footprint{}).Demand.Unflushed
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			after, err := s.home.FS.Space()
			if err != nil {
				t.Fatal(err)
			}
			took := state.Footprint{Bytes: int64(before.FreeBytes - after.FreeBytes), Inodes: int64(before.FreeInodes - after.FreeInodes)}
			if !took.FitsInto(thought) || format != layout.Bundled && took.Inodes*4 < thought.Inodes {
				t.Errorf("it took %+v, thought was %+v", took, thought)
			}
		})
	}
}

//go:build linux

package engine

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// smallDisk mounts a file system of some size; the test is skipped where that is not allowed.
func smallDisk(t *testing.T, bytes int64) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	err := unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("not allowed to mount: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return at
}

// incompressible returns a text of some length that takes up about that much in any format.
func incompressible(n int) string {
	b := make([]byte, n*3/4)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// fillUp writes a file until there is no byte left.
func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
}

// TestFullDisk: with 0 bytes free a storage is opened, read and packed; commits are
// told why they are refused, and go on when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	hometest.InTurn(t, 4)
	for _, tc := range []struct {
		format layout.Format
		clean  bool
	}{{layout.Bundled, true}, {layout.Bundled, false}, {layout.Chunky, true}, {layout.Chunky, false}} {
		clean := tc.clean
		if testing.Short() && clean == (tc.format == layout.Bundled) {
			continue // one of each format
		}
		t.Run(fmt.Sprintf("%s, clean %t", tc.format, clean), func(t *testing.T) {
			t.Parallel()
			disk := smallDisk(t, 96<<20)
			home := filepath.Join(disk, "home")
			if err := Create(home, CreateOptions{Format: string(tc.format), Set: map[string]string{"storage.min_pack_time": "0", "storage.delay_delete": "0"}}); err != nil {
				t.Fatal(err)
			}
			o := Options{SegmentSize: 1 << 20, Reserve: 4 << 20, LowSpace: 16 << 20}
			s := open(t, home, o)
			reserve := filepath.Join(home, space.ReserveFile)
			there := func() bool { _, err := os.Stat(reserve); return err == nil }
			eventually(t, "a reserve", there)
			big := incompressible(200 << 10)
			want := "" // the last one that was acknowledged
			put := func(text string) error {
				_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec(text + big)})
				if err == nil {
					want = string(rec(text + big))
				}
				return err
			}
			for i := range 120 {
				if err := put(fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(s.WaitNormal(t.Context()), s.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
			if clean {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			fillUp(t, filepath.Join(disk, "filler"))
			if !clean {
				// The rest of the log takes some. It is refused in the end, clearly.
				var err error
				for i := 0; err == nil; i++ {
					err = put(fmt.Sprint("late", i))
				}
				if !errors.Is(err, zodb.ErrDiskFull) {
					t.Fatalf("a commit on a full disk: %v", err)
				}
				fillUp(t, filepath.Join(disk, "filler2"))
				s.Close() // as it is
				fillUp(t, filepath.Join(disk, "filler3"))
			}
			s = open(t, home, o)
			if got := load(t, s, 0); got != want {
				t.Fatal("it is not what was acknowledged last")
			}
			eventually(t, "the warning", func() bool { return s.Status().LowSpace != "" })
			if n := len(tids(t, s)); n < 60 {
				t.Errorf("%d transactions", n)
			}
			_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec(big + big + big + big + big + big + big + big)})
			if !errors.Is(err, zodb.ErrDiskFull) {
				t.Errorf("a commit on a full disk: %v", err)
			}
			if st := s.Status(); st.ReadOnly || st.Failure != "" {
				t.Fatalf("status %+v", st)
			}
			if !there() {
				t.Error("the reserve was not kept for a pack")
			}
			// A backup to elsewhere works, too.
			eventually(t, "a snapshot", func() bool { return s.EnterSnapshot(t.Context(), "backup") == nil })
			if err := os.CopyFS(filepath.Join(t.TempDir(), "copy"), os.DirFS(filepath.Join(home, "A"))); err != nil {
				t.Error(err)
			}
			if err := s.LeaveSnapshot(t.Context(), "backup"); err != nil {
				t.Fatal(err)
			}
			result, err := s.Pack(t.Context(), zodb.PackOptions{})
			if err != nil || result.Revisions < 50 {
				t.Fatalf("pack: %+v, %v", result, err)
			}
			if sp, err := s.home.FS.Space(); err != nil || sp.FreeBytes < 10<<20 {
				t.Errorf("when the pack returns %d bytes are free, %v", sp.FreeBytes, err)
			}
			if got := load(t, s, 0); got != want {
				t.Error("the pack changed what is current")
			}
			eventually(t, "a reserve again", there)
			eventually(t, "commits", func() bool {
				_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 1, data: rec("again")})
				return err == nil
			})
			if err := errors.Join(s.Flush(t.Context()), s.Close()); err != nil {
				t.Fatal(err)
			}
			homeIsSound(t, home)
		})
	}
}

// TestOpenOnAFullDiskLeavesASnapshotAlone: the floor of time stamps cannot be raised, so
// nothing may enter A until there is room.
func TestOpenOnAFullDiskLeavesASnapshotAlone(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	s := open(t, home, Options{})
	commit(t, s, change{oid: 0, data: rec("one")})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	before := contentOf(t, dir, "A")
	f := errfs.New(dir, nil)
	full{f}.set(func(op errfs.Op) bool { return op.Kind != "mkdir" }) // those that there are exist
	// An hour later, so that the floor has to rise.
	s = open(t, home, Options{fs: f, Clock: func() time.Time { return time.Now().Add(time.Hour) }})
	if got := load(t, s, 0); got != string(rec("one")) {
		t.Errorf("got %q", got)
	}
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec("two")}); !errors.Is(err, zodb.ErrDiskFull) {
		t.Errorf("a commit: %v", err)
	}
	if got := snapshotContent(home); got != snapfile.Shutdown || s.Status().Snapshot != string(state.ModeStartup) {
		t.Errorf("misc/snapshot holds %q, the state is %q", got, s.Status().Snapshot)
	}
	if after := contentOf(t, dir, "A"); len(after) != len(before) {
		t.Errorf("A has %d files, %d before", len(after), len(before))
	}
	f.Decide(nil)
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, change{oid: 0, data: rec("two")})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := snapshotContent(home); got != "none" {
		t.Errorf("misc/snapshot holds %q", got)
	}
}

// TestRefusedCommitsAreInTheStatus: the status of a storage that keeps the rest of a disk shows
// that it takes no commits, and which resource it lacks.
func TestRefusedCommitsAreInTheStatus(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	if err := Create(home, CreateOptions{Format: testFormat(t)}); err != nil {
		t.Fatal(err)
	}
	s := open(t, home, Options{fs: noRoom(t, home), Reserve: 16 << 20})
	eventually(t, "trouble", func() bool { return s.Status().TroubleKind == zodb.TroubleDisk })
	if st := s.Status(); !strings.Contains(st.Trouble, "make room") || st.ReadOnly {
		t.Errorf("status %+v", st)
	}
	_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec("x")})
	if !errors.Is(err, zodb.ErrDiskFull) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("a commit: %v", err)
	}
}

// diskOf says how large a file system is, without regard to the real one.
type diskOf struct {
	vfs.FS
	space vfs.Space
}

func (d diskOf) Space() (vfs.Space, error) { return d.space, nil }

// noRoom is the file system of a HOME on a disk that seems to be nearly full.
func noRoom(t *testing.T, home string) vfs.FS {
	t.Helper()
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	return diskOf{dir, vfs.Space{TotalBytes: 1 << 30, FreeBytes: 1 << 20, TotalInodes: 1 << 20, FreeInodes: 1 << 19}}
}

// TestFullDiskGetsTheLogBack: the log that the open found is flushed and given back, although no
// transaction finds room that would begin a new segment.
func TestFullDiskGetsTheLogBack(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	if err := Create(home, CreateOptions{Format: testFormat(t), Set: map[string]string{"filesystem.quick_shutdown": "1"}}); err != nil {
		t.Fatal(err)
	}
	const segment = 256 << 10
	s := open(t, home, Options{SegmentSize: segment})
	big := strings.Repeat("x", 100<<10)
	for i := range 12 {
		if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec(fmt.Sprint(i) + big)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := journalSize(t, home); n < 4*segment {
		t.Fatalf("the log has %d bytes only", n)
	}
	s = open(t, home, Options{fs: noRoom(t, home), SegmentSize: segment, Reserve: 16 << 20})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Two are kept to be used again, and the new one may be such a one.
	eventually(t, "a smaller log", func() bool { return journalSize(t, home) <= 3*segment })
	if got := load(t, s, 0); got != string(rec("11"+big)) {
		t.Error("it is not what was acknowledged last")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, home, Options{SegmentSize: segment})
	if got := load(t, s, 0); got != string(rec("11"+big)) {
		t.Error("after another open it is not what was acknowledged last")
	}
	if _, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec("after")}); err != nil {
		t.Error(err)
	}
}

// journalSize is how many bytes the files of the log take up.
func journalSize(t *testing.T, home string) (n int64) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(home, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

// TestSmallDiskTakesCommits: the reserve takes a part of a small disk, and is not the
// reason why nothing can be committed there.
func TestSmallDiskTakesCommits(t *testing.T) {
	t.Parallel()
	home := filepath.Join(smallDisk(t, 24<<20), "home")
	if err := Create(home, CreateOptions{Format: testFormat(t)}); err != nil {
		t.Fatal(err)
	}
	s := open(t, home, Options{SegmentSize: 1 << 20, Reserve: 16 << 20})
	eventually(t, "a reserve", func() bool {
		info, err := os.Stat(filepath.Join(home, space.ReserveFile))
		return err == nil && info.Size() > 1<<20 && info.Size() < 3<<20
	})
	for i := range 3 {
		commit(t, s, change{oid: 0, data: rec(fmt.Sprint(i))})
	}
}

// TestSnapshotOnADiskThatFillsIsRefused: the disk is full when everything is flushed for a
// snapshot. The reserve is given up for it; then the caller gets the error.
func TestSnapshotOnADiskThatFillsIsRefused(t *testing.T) {
	t.Parallel()
	home := newHome(t, CreateOptions{})
	dir, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	f := errfs.New(dir, nil)
	s := open(t, home, Options{fs: diskOf{f, vfs.Space{TotalBytes: 10 << 30, FreeBytes: 5 << 30}}, Reserve: 1 << 20, RetryInterval: time.Millisecond})
	reserve := filepath.Join(home, space.ReserveFile)
	eventually(t, "a reserve", func() bool { _, err := os.Stat(reserve); return err == nil })
	commit(t, s, change{oid: 0, data: rec("root")})
	full := func(reserveIsEnough bool) {
		f.Decide(func(op errfs.Op) error {
			if !isFlushed(op) && (op.Kind != "create" || op.Name != space.ReserveFile) {
				return nil
			}
			if _, err := os.Stat(reserve); reserveIsEnough && err != nil && op.Name != space.ReserveFile {
				return nil
			}
			return syscall.ENOSPC
		})
	}
	full(true)
	if err := s.EnterSnapshot(t.Context(), "one"); err != nil {
		t.Fatalf("with a reserve: %v", err)
	}
	if _, err := os.Stat(reserve); err == nil {
		t.Error("the reserve is still there")
	}
	f.Decide(nil)
	if err := s.LeaveSnapshot(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitNormal(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a commit", func() bool {
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: rec("again")})
		return err == nil
	})
	full(false)
	if err := s.EnterSnapshot(t.Context(), "two"); !errors.Is(err, zodb.ErrDiskFull) {
		t.Fatalf("without room: %v", err)
	}
	f.Decide(nil)
	if err := s.EnterSnapshot(t.Context(), "three"); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	if got := load(t, s, 0); got != string(rec("again")) {
		t.Errorf("object 0 is %q", got)
	}
}

package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/zodb"
)

// TestALogWithoutRoomForAWholeSegmentGoesOn: the log needs its next segment, and others have left less room than
// that on the disk. Commits go on in a smaller one. Where there is no room at all, status says so until there is.
func TestALogWithoutRoomForAWholeSegmentGoesOn(t *testing.T) {
	disk := smallDisk(t, 96<<20)
	home := filepath.Join(disk, "home")
	if err := Create(home, CreateOptions{Format: testFormat(t)}); err != nil {
		t.Fatal(err)
	}
	s := open(t, home, Options{SegmentSize: 8 << 20, Reserve: 8 << 20, LowSpace: 1 << 20, RetryInterval: 10 * time.Millisecond})
	eventually(t, "a reserve", func() bool { return s.space.HasReserve(8 << 20) })
	data := rec(incompressible(20 << 10))
	put := func() error {
		_, err := tryCommit(s, zodb.TxnMeta{}, change{oid: 0, data: data})
		return err
	}
	for s.Status().JournalBytes < 7<<20 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil { // the segment keeps its size
		t.Fatal(err)
	}
	leave := func(name string, bytes int64) {
		var st unix.Statfs_t
		if err := unix.Statfs(disk, &st); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(disk, name), make([]byte, max(0, int64(st.Bavail)*int64(st.Bsize)-bytes)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leave("foreign", 6<<20)
	for n := range 80 { // more than the rest of the segment takes
		if err := put(); err != nil {
			t.Fatalf("commit %d: %v; %+v", n, err, s.Status())
		}
	}
	if st := s.Status(); st.Trouble != "" {
		t.Errorf("trouble: %s", st.Trouble)
	}

	leave("more", 16<<10)
	var err error
	for n := 0; err == nil && n < 1000; n++ {
		err = put()
	}
	if st := s.Status(); !errors.Is(err, zodb.ErrDiskFull) || st.TroubleKind != zodb.TroubleDisk || st.Failure != "" {
		t.Errorf("no room at all: %v, %+v", err, st)
	}
	if err := errors.Join(os.Remove(filepath.Join(disk, "more")), os.Remove(filepath.Join(disk, "foreign"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no trouble, though nobody commits", func() bool { return s.Status().Trouble == "" })
	if err := put(); err != nil {
		t.Error(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

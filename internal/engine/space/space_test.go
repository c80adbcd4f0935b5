package space

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

func TestRoomIn(t *testing.T) {
	t.Parallel()
	const mib, gib = 1 << 20, 1 << 30
	boundless := state.Boundless()
	for _, tt := range []struct {
		name    string
		space   vfs.Space
		low     int64
		reserve int64
		want    state.Footprint
	}{
		{"much is free", vfs.Space{TotalBytes: 100 * gib, FreeBytes: 50 * gib}, gib, 16 * mib, state.Footprint{Bytes: 49*gib + 12*mib, Inodes: boundless.Inodes}},
		{"little is free", vfs.Space{TotalBytes: 100 * gib, FreeBytes: 500 * mib}, gib, 16 * mib, state.Footprint{Bytes: 12 * mib, Inodes: boundless.Inodes}},
		{"nothing is free", vfs.Space{TotalBytes: 100 * gib}, gib, 16 * mib, state.Footprint{Bytes: 12 * mib, Inodes: boundless.Inodes}},
		{"no reserve", vfs.Space{TotalBytes: 100 * gib, FreeBytes: 500 * mib}, gib, 0, state.Footprint{Bytes: 250 * mib, Inodes: boundless.Inodes}},
		{"inodes", vfs.Space{TotalInodes: 10_000_000, FreeInodes: 50_000}, gib, 0, state.Footprint{Bytes: boundless.Bytes, Inodes: 25_000}},
		{"not known", vfs.Space{}, gib, 0, boundless},
	} {
		if _, got := (&Config{LowSpace: tt.low}).roomIn(tt.space, tt.reserve); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestLowSpace(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for _, tc := range []struct {
		name  string
		space vfs.Space
		limit int64
		low   bool
	}{
		{"much", vfs.Space{FreeBytes: 2 * gib, TotalBytes: 100 * gib}, gib, false},
		{"little", vfs.Space{FreeBytes: gib - 1, TotalBytes: 100 * gib}, gib, true},
		{"little of a small one", vfs.Space{FreeBytes: gib / 2, TotalBytes: 2 * gib}, gib, false},
		{"less than a tenth of a small one", vfs.Space{FreeBytes: gib / 10, TotalBytes: 2 * gib}, gib, true},
		{"few inodes", vfs.Space{FreeBytes: 50 * gib, TotalBytes: 100 * gib, FreeInodes: 99_999, TotalInodes: 10_000_000}, gib, true},
		{"inodes without a limit", vfs.Space{FreeBytes: 50 * gib, TotalBytes: 100 * gib}, gib, false},
		{"nobody looks", vfs.Space{TotalBytes: gib}, 0, false},
		{"not known", vfs.Space{}, gib, false},
	} {
		if got := lowSpace(tc.space, tc.limit); (got != "") != tc.low {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}

// onDisk is a file system with some free space.
type onDisk struct {
	vfs.FS
	space vfs.Space
}

func (d onDisk) Space() (vfs.Space, error) { return d.space, nil }

// TestTheReserveIsForADiskThatIsShort: a bundle that is written again may take it there, and not elsewhere.
func TestTheReserveIsForADiskThatIsShort(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	disk := crashfs.New(1)
	if err := disk.Mkdir("misc"); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Put(disk, ReserveFile, make([]byte, mib), true); err != nil {
		t.Fatal(err)
	}
	w := New(Config{FS: onDisk{disk, vfs.Space{TotalBytes: 100 * mib, FreeBytes: 5 * mib}}, State: state.New(state.Options{})})
	if with, without := w.ForReclaim(true), w.ForReclaim(false); with != 6*mib || without != 5*mib {
		t.Errorf("%d with the reserve, %d without", with, without)
	}
}

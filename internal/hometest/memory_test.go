package hometest

import (
	"math"
	"path/filepath"
	"testing"
)

func TestRoomIsAskedFor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tc := range []struct {
		dir   string
		bytes uint64
		want  bool
	}{
		{dir, 1, true},
		{dir, math.MaxUint64, false},
		{filepath.Join(dir, "missing"), 1, false},
	} {
		if got := hasRoom(tc.dir, tc.bytes); got != tc.want {
			t.Errorf("%d bytes in %s: %t, want %t", tc.bytes, tc.dir, got, tc.want)
		}
	}
}

// TestFilesAreInMemoryWhereTheRunAsksForIt: a whole run without the detector is on the disk.
func TestFilesAreInMemoryWhereTheRunAsksForIt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		memory, short, race bool
		tmpdir              string
		want                bool
	}{
		{false, true, false, "", true},
		{false, true, false, "/srv", false},
		{false, false, false, "", false},
		{false, false, true, "", false},
		{true, false, false, "", false},
		{true, false, true, "", true},
		{true, false, true, "/srv", false},
	} {
		if got := (M{Memory: tc.memory}).inMemory(tc.short, tc.race, tc.tmpdir); got != tc.want {
			t.Errorf("%+v: %t", tc, got)
		}
	}
}

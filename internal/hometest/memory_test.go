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

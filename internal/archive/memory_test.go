package archive

import (
	"io"
	"runtime/debug"
	"testing"
)

// TestFramesFollowTheMemoryLimit is not parallel: the limit is that of the process.
func TestFramesFollowTheMemoryLimit(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	for _, c := range []struct {
		limit          int64
		frame, workers int
	}{
		{8 << 20, leastFrame, 1},
		{48 << 20, 1 << 20, 1},
		{1 << 40, defaultFrameSize, 0},
	} {
		debug.SetMemoryLimit(c.limit)
		w, err := NewWriter(io.Discard, io.Discard, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if w.frameSize != c.frame || c.workers != 0 && cap(w.slots) != c.workers+1 {
			t.Errorf("limit %d: frames of %d bytes and %d of them at once, want %d and %d", c.limit, w.frameSize, cap(w.slots), c.frame, c.workers+1)
		}
		w.Abort()
	}
}

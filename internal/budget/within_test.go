package budget

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestWithinTheMemoryLimit is not parallel: the limit is that of the process.
func TestWithinTheMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(math.MaxInt64)
	defer debug.SetMemoryLimit(before)
	if got := Within(64<<20, 8); got != 64<<20 {
		t.Errorf("without a limit: %d bytes, want all", got)
	}
	if got := Workers(1 << 20); got != runtime.GOMAXPROCS(0) {
		t.Errorf("without a limit: %d workers, want one for each processor", got)
	}
	debug.SetMemoryLimit(512 << 20)
	if got := Within(64<<20, 16); got != 32<<20 {
		t.Errorf("limit of 512 MiB: %d bytes, want a sixteenth", got)
	}
	if got := Workers(100 << 20); got != 1 {
		t.Errorf("limit of 512 MiB: %d workers of 100 MiB, want 1", got)
	}
	if got := Workers(1 << 40); got != 1 {
		t.Errorf("%d workers that are too large, want 1", got)
	}
}

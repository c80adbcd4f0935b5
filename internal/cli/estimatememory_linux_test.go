package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestImportTakesTheEstimatedMemory looks at imports that run as processes of their own, without a
// memory limit. docs/migrate.md has the tolerance.
func TestImportTakesTheEstimatedMemory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes seconds of processor time")
	}
	if hometest.RaceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	source, _ := generated(t, t.TempDir(), 8000, false)
	dir := t.TempDir()
	r := estimated(t, exitOK, "estimate", source, dir)
	for _, format := range []string{"bundled", "chunky"} {
		cmd := program(t, "import", "--format", format, source, filepath.Join(dir, format))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		// The usage that the kernel reports at the end counts the process from which it was forked.
		peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
		most, looks := int64(0), 0
		var err error
		for running := true; running; {
			select {
			case err = <-ended:
				running = false
			case <-time.After(2 * time.Millisecond):
				text, rerr := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
				if m := peak.FindSubmatch(text); rerr == nil && m != nil {
					kib, _ := strconv.ParseInt(string(m[1]), 10, 64)
					most, looks = kib<<10, looks+1
				}
			}
		}
		if err != nil || looks == 0 {
			t.Fatalf("%v after %d looks", err, looks)
		}
		const tolerance = 25 << 20
		if estimate := r.Of(format).MemoryBytes; most > estimate+tolerance || estimate > 4*most {
			t.Errorf("%s: estimated %d bytes of memory, it took %d", format, estimate, most)
		}
	}
}

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/hometest"
)

// TestAnEstimateForASmallDiskIsAnAnswer: a sample that would take more than half of the free room, in bytes or in
// inodes, is not copied, and the report says that the import does not fit.
func TestAnEstimateForASmallDiskIsAnAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, _ := generated(t, dir, 300, false)
	for _, tc := range []struct {
		name, size string
		full       bool
		why        string
		fits       bool
	}{
		{"bytes", "500k", false, "a sample may take ", false},
		{"a sample that would fit", "60m", false, "a sample may take ", true},
		{"inodes", "512m,nr_inodes=500", false, " inodes, and half of the ", false},
		{"no byte", "8m", true, "", false},
	} {
		disk := smallDisk(t, tc.size)
		if tc.full {
			fill(t, disk)
		}
		status := exitFailed
		if tc.fits {
			status = exitOK
		}
		for i, args := range [][]string{{"estimate"}, {"import", "--dry-run"}} {
			args = append(args, "--format", "bushy", name, filepath.Join(disk, "home"))
			if i == 0 {
				r := estimated(t, status, args...)
				if r.Fits != tc.fits || r.Sample != nil || r.NoSample == "" || !strings.Contains(r.NoSample, tc.why) || r.Of("bushy").Seconds != nil || r.Of("bushy").Bytes == 0 {
					t.Errorf("%s: %+v", tc.name, r)
				}
			}
			code, stdout, stderr := command(t.Context(), args...)
			if code != status || !strings.Contains(stdout.String(), "No sample was copied, so there are no times") || !tc.fits && !strings.Contains(stderr.String(), "\nhint: free space, or choose another disk or format") {
				t.Errorf("%s: status %d, %s%s", tc.name, code, stdout, stderr)
			}
		}
		left, err := os.ReadDir(disk)
		if err != nil || len(left) > 0 && !tc.full || len(left) > 1 {
			t.Errorf("%s: left %v, %v", tc.name, left, err)
		}
	}
}

// TestAnEstimateShowsTheCopiesOfItsSample, and no time that is left, which it does not know.
func TestAnEstimateShowsTheCopiesOfItsSample(t *testing.T) {
	t.Parallel()
	e, _, stderr := testEnv()
	e.Terminal, e.ProgressEvery = true, time.Nanosecond
	if code := run(t.Context(), e, []string{"estimate", hometest.FileStorage(t, "undo.fs"), filepath.Join(t.TempDir(), "home")}); code != exitOK {
		t.Fatalf("status %d, %s", code, stderr)
	}
	for _, format := range []string{"bundled", "bushy", "chunky", "lawn", "flat"} {
		_, line, found := strings.Cut(stderr.String(), "copies a sample into each format: "+format+", ")
		if line, _, _ = strings.Cut(line, "\r"); !found || strings.Contains(line, "left") {
			t.Errorf("%s: %q", format, stderr)
		}
	}
}

package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestProgressFitsIntoTheLine(t *testing.T) {
	t.Parallel()
	const text = "12 files, 3.0 MiB, 4/s, 1.0 MiB/s"
	for _, tc := range []struct {
		width int
		left  string
		want  string
	}{
		{79, "12%, 3m left", "12 files, 3.0 MiB, 4/s, 1.0 MiB/s, 12%, 3m left"},
		{79, "", text},
		{39, "12%, 3m left", "12 files, 3.0 MiB, 4/s, 12%, 3m left"},
		{30, "12%, 3m left", "12 files, 12%, 3m left"},
		{15, "12%, 3m left", "12%, 3m left"},
		{15, "", "12 files"},
		{5, "12%, 3m left", "12%, "},
		{5, "", "12 fi"},
		{0, "", ""},
		{-1, "12%, 3m left", ""},
	} {
		if got := fit(text, tc.left, tc.width); got != tc.want || len(got) > max(tc.width, 0) {
			t.Errorf("%d columns: %q, want %q", tc.width, got, tc.want)
		}
	}
	for width := range 100 {
		if got := fit(text, "12%, 3m left", width); len(got) > width || strings.HasSuffix(got, ", ") && width > 12 {
			t.Errorf("%d columns: %q", width, got)
		}
	}
}

// TestProgressFollowsTheSizeOfTheTerminal: each line is narrower than the terminal is at that moment.
func TestProgressFollowsTheSizeOfTheTerminal(t *testing.T) {
	t.Parallel()
	now, columns := time.Unix(1e9, 0), 0
	var stderr bytes.Buffer
	e := &env{Stderr: &stderr, Terminal: true, ProgressEvery: time.Nanosecond, Columns: func() int { return columns }, Now: func() time.Time { now = now.Add(time.Second); return now }}
	m := newMeter(e)
	for i, width := range []int{80, 20, 300, 1, 40, 2, 0, 80} {
		columns = width
		stderr.Reset()
		m.update(int64(i+1), 100, func(time.Duration) string { return fmt.Sprintf("%d files, 3.0 MiB, 4/s, 1.0 MiB/s", i) })
		if width == 0 { // not known
			width = usualColumns
		}
		line, ok := strings.CutSuffix(strings.TrimPrefix(stderr.String(), "\r"), eraseToEnd)
		if !ok || columnsOf(line) >= width || width > 30 && !strings.Contains(line, "left") {
			t.Errorf("%d columns: %q", width, stderr.String())
		}
	}
	e.Quiet = true
	stderr.Reset()
	if m.update(1, 2, func(time.Duration) string { return "x" }); stderr.Len() > 0 {
		t.Errorf("quiet: %q", &stderr)
	}
}

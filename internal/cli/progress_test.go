package cli

import (
	"strings"
	"testing"
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

package web

import "testing"

func TestTimesAreShortAndNeverZero(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		micros float64
		want   string
	}{
		{-1, "–"}, {0, "0 µs"}, {0.03, "< 0.1 µs"}, {0.06, "0.1 µs"}, {5, "5 µs"}, {9.94, "9.9 µs"}, {9.99, "10 µs"}, {10.4, "10 µs"}, {999, "999 µs"},
		{1234, "1.23 ms"}, {56_789, "56.8 ms"}, {345_678, "346 ms"}, {2_500_000, "2.50 s"},
	} {
		if got := micros(tc.micros); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.micros, got, tc.want)
		}
	}
}

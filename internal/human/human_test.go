package human

import (
	"math"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests need Berlin wherever they run
)

func berlin(t testing.TB) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

var now = time.Date(2026, 4, 2, 9, 30, 15, 500, time.UTC)

func TestTimesAreRead(t *testing.T) {
	t.Parallel()
	loc := berlin(t)
	for _, tc := range []struct {
		text string
		want time.Time
	}{
		{"now", now},
		{"2026-03-01", time.Date(2026, 3, 1, 0, 0, 0, 0, loc)},
		{"2028-02-29", time.Date(2028, 2, 29, 0, 0, 0, 0, loc)},
		{"2026-03-01 10:00", time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)},
		{"2026-07-01 10:00:05", time.Date(2026, 7, 1, 8, 0, 5, 0, time.UTC)},
		{"2026-03-29 01:59:59", time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC)},
		{"2026-03-29 03:00", time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)},
		{"2026-10-25 01:59", time.Date(2026, 10, 24, 23, 59, 0, 0, time.UTC)},
		{"2026-10-25 03:00", time.Date(2026, 10, 25, 2, 0, 0, 0, time.UTC)},
		{"2026-10-25 02:30:00 +02:00", time.Date(2026, 10, 25, 0, 30, 0, 0, time.UTC)},
		{"2026-10-25 02:30:00 +01:00", time.Date(2026, 10, 25, 1, 30, 0, 0, time.UTC)},
		{"2026-03-01T10:00:05Z", time.Date(2026, 3, 1, 10, 0, 5, 0, time.UTC)},
		{"2026-03-01T10:00:05.25-05:00", time.Date(2026, 3, 1, 15, 0, 5, 250e6, time.UTC)},
		{"@0", time.Unix(0, 0)},
		{"@1700000000", time.Unix(1700000000, 0)},
		{"@253402300799", time.Unix(253402300799, 0)},
		{"36 hours ago", now.Add(-36 * time.Hour)},
		{"1 hour ago", now.Add(-time.Hour)},
		{"90 minutes ago", now.Add(-90 * time.Minute)},
		{"0 days ago", now},
		{"2 days ago", now.Add(-48 * time.Hour)},
		{"3 weeks ago", now.Add(-21 * 24 * time.Hour)},
		{"36525 days ago", now.Add(-36525 * 24 * time.Hour)},
	} {
		t.Run(tc.text, func(t *testing.T) {
			t.Parallel()
			got, err := ParseTime(tc.text, now, loc)
			if err != nil || !got.Equal(tc.want) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestOtherTimesAreRefused(t *testing.T) {
	t.Parallel()
	loc := berlin(t)
	for _, tc := range []struct{ text, reason string }{
		{"", "want"}, {" ", "want"}, {"garbage", "want"}, {"yesterday", "want"}, {"today", "want"}, {"Now", "want"}, {" now", "want"}, {"10:00", "want"},
		{"2026-3-1", "want"}, {"26-03-01", "want"}, {"2026-02-29", "want"}, {"2026-13-01", "want"}, {"2026-03-01 ", "want"}, {"01.03.2026", "want"}, {"03/01/2026", "want"},
		{"2026-03-01 9:00", "want"}, {"2026-03-01  9:00", "want"}, {"2026-03-01 24:00", "want"}, {"2026-03-01 10:00:60", "want"}, {"2026-03-01 10:00:05.5", "want"}, {"2026-03-01 10", "want"},
		{"2026-03-01 10:00 UTC", "want"}, {"2026-03-01T10:00:05", "want"}, {"2026-03-01T1:00:05Z", "want"}, {"2026-03-01T10:00:05,5Z", "want"}, {"20260301", "want"},
		{"2026-03-01 10:00:05 +0100", "want"}, {"2026-03-01 1:00:05 +01:00", "want"}, {"1700000000", "want"},
		{"2026-03-29 02:30", "does not exist in Europe/Berlin"}, {"2026-10-25 02:30", "“2026-10-25 02:30:00 +02:00” or “2026-10-25 02:30:00 +01:00”"},
		{"2026-10-25 02:00:00", "comes twice"}, {"2026-10-25 02:59:59", "comes twice"},
		{"@", "seconds since 1970"}, {"@-1", "seconds since 1970"}, {"@+1", "seconds since 1970"}, {"@1.5", "seconds since 1970"}, {"@253402300800", "seconds since 1970"},
		{"two hours ago", "not a whole number"}, {"-2 hours ago", "not a whole number"}, {"1.5 hours ago", "not a whole number"}, {"99999999999999999999 weeks ago", "not a whole number"}, {"36526 days ago", "not a whole number"},
		{"2 months ago", "one of minutes"}, {"2 seconds ago", "one of minutes"}, {"2 hourss ago", "one of minutes"}, {"2  hours ago", "want"}, {"2 hours", "want"}, {"2h ago", "want"}, {"hours ago", "want"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			t.Parallel()
			got, err := ParseTime(tc.text, now, loc)
			if err == nil {
				t.Fatalf("got %v, want an error", got)
			}
			if !strings.Contains(err.Error(), tc.reason) {
				t.Errorf("error is %q, want %q in it", err, tc.reason)
			}
			if tc.reason == "want" && !strings.Contains(err.Error(), forms) {
				t.Errorf("error %q does not say what is accepted", err)
			}
		})
	}
}

// TestWhenClocksAreNotSetByWholeHours checks a zone with steps of half an hour.
func TestWhenClocksAreNotSetByWholeHours(t *testing.T) {
	t.Parallel()
	loc, err := time.LoadLocation("Australia/Lord_Howe")
	if err != nil {
		t.Fatal(err)
	}
	for text, reason := range map[string]string{
		"2026-04-05 01:29": "", "2026-04-05 01:30": "comes twice", "2026-04-05 01:59": "comes twice", "2026-04-05 02:00": "",
		"2026-10-04 02:00": "does not exist", "2026-10-04 02:29": "does not exist", "2026-10-04 02:30": "",
	} {
		_, err := ParseTime(text, now, loc)
		if (err == nil) != (reason == "") || err != nil && !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: error is %v, want %q", text, err, reason)
		}
	}
}

func TestTimesAreLocalWithOffset(t *testing.T) {
	t.Parallel()
	loc := berlin(t)
	for want, at := range map[string]time.Time{
		"2026-04-02 11:30:15 +02:00": now,
		"2026-01-01 00:00:00 +01:00": time.Date(2025, 12, 31, 23, 0, 0, 999, time.UTC),
	} {
		if got := FormatTime(at, loc); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := FormatTime(now, time.UTC); got != "2026-04-02 09:30:15 +00:00" {
		t.Errorf("got %s", got)
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", -2048: "-2.0 KiB", 1<<20 - 1: "1.0 MiB", 1023 << 10: "1023.0 KiB",
		1468006: "1.4 MiB", 65914097: "62.9 MiB", 1 << 30: "1.0 GiB", 5 << 40: "5.0 TiB", 1 << 50: "1.0 PiB", math.MaxInt64: "8.0 EiB", math.MinInt64: "-8.0 EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 22740: "22,740", 123456: "123,456", 1000000: "1,000,000", -1: "-1", -999: "-999", -1000: "-1,000",
		math.MaxInt64: "9,223,372,036,854,775,807", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestNumbersOfThings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		n          int64
		name, want string
	}{{0, "file", "0 files"}, {1, "file", "1 file"}, {2, "entry", "2 entries"}, {1, "entry", "1 entry"}, {-1, "key", "-1 keys"}, {90, "day", "90 days"}, {22740, "object", "22,740 objects"}} {
		if got := Number(tc.n, tc.name); got != tc.want {
			t.Errorf("Number(%d, %q) = %q, want %q", tc.n, tc.name, got, tc.want)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		n           int64
		d           time.Duration
		rate, bytes string
	}{
		{3800, time.Second, "3,800/s", "3.7 KiB/s"},
		{1, 2 * time.Second, "0.5/s", "1 B/s"},
		{0, time.Second, "0.0/s", "0 B/s"},
		{99, 10 * time.Second, "9.9/s", "10 B/s"},
		{996, 100 * time.Second, "10/s", "10 B/s"},
		{1 << 20, 500 * time.Millisecond, "2,097,152/s", "2.0 MiB/s"},
		{5, 0, "-", "-"},
		{5, -time.Second, "-", "-"},
		{-5, time.Second, "-", "-"},
		{math.MaxInt64, time.Nanosecond, "-", "-"},
	} {
		if got := Rate(tc.n, tc.d); got != tc.rate {
			t.Errorf("Rate(%d, %s) = %q, want %q", tc.n, tc.d, got, tc.rate)
		}
		if got := ByteRate(tc.n, tc.d); got != tc.bytes {
			t.Errorf("ByteRate(%d, %s) = %q, want %q", tc.n, tc.d, got, tc.bytes)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0ms", 900 * time.Microsecond: "0ms", 850 * time.Millisecond: "850ms", 999999 * time.Microsecond: "999ms", time.Second: "1.0s",
		3290 * time.Millisecond: "3.2s", 9999 * time.Millisecond: "9.9s", 10 * time.Second: "10s", 42900 * time.Millisecond: "42s",
		time.Minute: "1m", 192 * time.Second: "3m12s", 59*time.Minute + 59*time.Second + 999*time.Millisecond: "59m59s",
		2 * time.Hour: "2h", 2*time.Hour + 5*time.Minute + 59*time.Second: "2h5m", 24 * time.Hour: "1d", 76*time.Hour + 59*time.Minute: "3d4h",
		-192 * time.Second: "-3m12s", math.MaxInt64: "106751d23h", math.MinInt64: "-106751d23h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}

// FuzzParseTime asserts that what is accepted can be printed and read back, and
// does not depend on the present where it does not say so.
func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"now", "2026-03-01", "2026-03-01 10:00:05", "2026-10-25 02:30:00 +02:00", "2026-03-01T10:00:05.5Z", "@1700000000", "36 hours ago"} {
		f.Add(s)
	}
	loc := berlin(f)
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseTime(s, now, loc)
		if err != nil {
			if !strings.Contains(err.Error(), "want") && !strings.Contains(err.Error(), "no") && !strings.Contains(err.Error(), "twice") {
				t.Errorf("error %q says nothing", err)
			}
			return
		}
		printed := FormatTime(got, time.UTC)
		if again, err := ParseTime(printed, now, loc); err != nil && got.UTC().Year() >= 0 && got.UTC().Year() <= 9999 || err == nil && !again.Equal(got.Truncate(time.Second)) {
			t.Errorf("%q was printed as %q and read as %v, %v", s, printed, again, err)
		}
		later, err := ParseTime(s, now.Add(time.Hour), loc)
		if relative := s == "now" || strings.HasSuffix(s, " ago"); err != nil || relative == later.Equal(got) {
			t.Errorf("%q is %v, and an hour later %v, %v", s, got, later, err)
		}
	})
}

// FuzzNumbers asserts the shape of what is printed.
func FuzzNumbers(f *testing.F) {
	for _, n := range []int64{0, 1023, 1 << 20, math.MinInt64, math.MaxInt64} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if got := Bytes(n); len(got) > len("-1023.9 KiB") {
			t.Errorf("Bytes(%d) = %q", n, got)
		}
		if got := Duration(time.Duration(n)); got == "" || strings.Count(got, "-") > 1 || len(got) > len("-106751d23h") {
			t.Errorf("Duration(%d) = %q", n, got)
		}
		digits := strings.ReplaceAll(strings.TrimPrefix(Count(n), "-"), ",", "")
		if strings.Trim(digits, "0123456789") != "" || len(Count(n))-len(digits) < (len(digits)-1)/3 {
			t.Errorf("Count(%d) = %q", n, Count(n))
		}
	})
}

package human

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	dateLayout    = "2006-01-02"
	minuteLayout  = "2006-01-02 15:04"
	secondLayout  = "2006-01-02 15:04:05"
	printedLayout = "2006-01-02 15:04:05 -07:00"
	rfcLayout     = "2006-01-02T15:04:05" // how RFC 3339 begins
)

const (
	// maxSeconds is the end of the year 9999 in seconds since 1970.
	maxSeconds = 253402300799
	// maxAge is about a hundred years; an age beyond it is a slip of the finger.
	maxAge = 36525 * 24 * time.Hour
)

// forms lists the forms that ParseTime accepts, for help texts and messages.
const forms = "“2026-03-01”, “2026-03-01 10:00”, “2026-03-01 10:00:05”, “2026-03-01 10:00:05 +01:00”, " +
	"“2026-03-01T10:00:05Z”, “@1700000000”, “36 hours ago” (minutes, hours, days, weeks) or “now”"

// ErrNoZone: a local time was given, and the local time zone is not known.
var ErrNoZone = errors.New("the local time zone is not known")

// ParseTime reads a point in time in one of these forms, see forms:
//
//   - A date, which means its first moment, or a date and a time of the day, both
//     in loc. A time that loc skips when clocks go forward, or has twice when
//     they go back, is refused; and each, if loc is nil: ErrNoZone.
//   - The form of [FormatTime], and RFC 3339: a time with an offset from UTC.
//   - “@” and seconds since 1970.
//   - “N minutes ago”, or hours, days or weeks, before now. A day is always 24 hours.
//   - “now”.
func ParseTime(s string, now time.Time, loc *time.Location) (time.Time, error) {
	if s == "now" {
		return now, nil
	}
	if digits, ok := strings.CutPrefix(s, "@"); ok {
		return parseSeconds(s, digits)
	}
	if words := strings.Split(s, " "); len(words) == 3 && words[2] == "ago" {
		return parseAge(s, words[0], words[1], now)
	}
	known := loc
	if known == nil {
		known = time.UTC
	}
	for _, layout := range []string{dateLayout, minuteLayout, secondLayout} {
		if _, err := time.ParseInLocation(layout, s, known); err == nil && shaped(s, layout) && loc == nil {
			return time.Time{}, fmt.Errorf("%q has no offset from UTC, and %w", s, ErrNoZone)
		}
		if t, err := time.ParseInLocation(layout, s, known); err == nil && shaped(s, layout) {
			return t, checkLocal(s, t, layout)
		}
	}
	if t, err := time.Parse(printedLayout, s); err == nil && shaped(s[:len(secondLayout)], secondLayout) && s[len(secondLayout)] == ' ' {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil && shaped(s[:len(rfcLayout)], rfcLayout) && s[len(rfcLayout)] != ',' {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time: want %s", s, forms)
}

// shaped reports whether a text has a digit wherever a layout has one, and
// otherwise is like it. Go's parser takes “9:00”, more space, and fractions of
// seconds for layouts without them.
func shaped(s, layout string) bool {
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	if len(s) != len(layout) {
		return false
	}
	for i := range len(s) {
		if digit(s[i]) != digit(layout[i]) || !digit(s[i]) && s[i] != layout[i] {
			return false
		}
	}
	return true
}

func parseSeconds(s, digits string) (time.Time, error) {
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > maxSeconds {
		return time.Time{}, fmt.Errorf("%q is not a time: after “@” want seconds since 1970, up to %d", s, int64(maxSeconds))
	}
	return time.Unix(int64(n), 0), nil
}

func parseAge(s, number, unit string, now time.Time) (time.Time, error) {
	var one time.Duration
	switch strings.TrimSuffix(unit, "s") {
	case "minute":
		one = time.Minute
	case "hour":
		one = time.Hour
	case "day":
		one = 24 * time.Hour
	case "week":
		one = 7 * 24 * time.Hour
	default:
		return time.Time{}, fmt.Errorf("%q is not a time: %q is not one of minutes, hours, days, weeks", s, unit)
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil || n > uint64(maxAge/one) {
		return time.Time{}, fmt.Errorf("%q is not a time: %q is not a whole number from 0 to %d", s, number, int64(maxAge/one))
	}
	return now.Add(-time.Duration(n) * one), nil
}

// checkLocal refuses a local time that does not exist, or exists twice. time.ParseInLocation
// guesses at these.
func checkLocal(s string, t time.Time, layout string) error {
	if t.Format(layout) != s {
		return fmt.Errorf("%q does not exist in %s: clocks were set forward over it", s, t.Location())
	}
	// The same reading with the offset that holds a day before, or after.
	_, offset := t.Zone()
	for _, day := range []int{-1, 1} {
		_, other := t.AddDate(0, 0, day).Zone()
		twin := t.Add(time.Duration(offset-other) * time.Second)
		if other == offset || twin.Format(layout) != s {
			continue
		}
		first, second := t, twin
		if second.Before(first) {
			first, second = second, first
		}
		return fmt.Errorf("%q comes twice in %s, because clocks were set back: add the offset, as in “%s” or “%s”",
			s, t.Location(), FormatTime(first, t.Location()), FormatTime(second, t.Location()))
	}
	return nil
}

// FormatTime prints a time in loc, to the second, with the offset of loc at that
// time: “2026-03-01 10:00:05 +01:00”. ParseTime reads it back.
func FormatTime(t time.Time, loc *time.Location) string { return t.In(loc).Format(printedLayout) }

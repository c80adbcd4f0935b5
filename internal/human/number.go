package human

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes prints a number of bytes in binary units: “0 B”, “1023 B”, “1.4 MiB”.
func Bytes(n int64) string {
	if n > -1024 && n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v := float64(n) / 1024
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	i := 0
	for math.Abs(v) >= 1023.95 { // would be printed as 1024.0
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// Count prints a number with a comma between thousands: “22,740”.
func Count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// Number prints a number of things, of which the name ends with an s where there is not one: “1 file”,
// “22,740 files”, “0 entries”. The name is in the singular.
func Number(n int64, name string) string {
	text := Count(n) + " " + name
	switch {
	case n == 1:
		return text
	case strings.HasSuffix(name, "y") && !strings.ContainsRune("aeiou", rune(text[len(text)-2])):
		return strings.TrimSuffix(text, "y") + "ies"
	}
	return text + "s"
}

// Plural is Number for a name with a verb, or with another plural: one is “object was”, many “objects were”.
func Plural(n int64, one, many string) string {
	if n == 1 {
		return Count(n) + " " + one
	}
	return Count(n) + " " + many
}

// Rate prints how many there were a second: “3,800/s”, or “0.5/s” below ten. In
// no time there is no rate, that is “-”.
func Rate(n int64, d time.Duration) string {
	perSecond, ok := rate(n, d)
	switch {
	case !ok:
		return "-"
	case perSecond < 9.95:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return Count(int64(math.Round(perSecond))) + "/s"
}

// ByteRate prints how many bytes there were a second: “1.4 MiB/s”. In no time
// there is no rate, that is “-”.
func ByteRate(n int64, d time.Duration) string {
	perSecond, ok := rate(n, d)
	if !ok {
		return "-"
	}
	return Bytes(int64(math.Round(perSecond))) + "/s"
}

// rate reports false where there is none, or none that an int64 holds.
func rate(n int64, d time.Duration) (float64, bool) {
	v := float64(n) / d.Seconds()
	return v, n >= 0 && d > 0 && v < math.MaxInt64
}

// Duration prints a time span in at most two units, cut to the smaller one:
// “850ms”, “3.2s”, “42s”, “3m12s”, “2h5m”, “3d4h”. A part that is zero is left
// out: “2h”.
func Duration(d time.Duration) string {
	if d < 0 {
		if d == math.MinInt64 {
			d++ // which has no positive counterpart
		}
		return "-" + Duration(-d)
	}
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%d.%ds", d/time.Second, d%time.Second/(100*time.Millisecond))
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return twoUnits(d, time.Minute, "m", time.Second, "s")
	case d < day:
		return twoUnits(d, time.Hour, "h", time.Minute, "m")
	}
	return twoUnits(d, day, "d", time.Hour, "h")
}

func twoUnits(d, large time.Duration, largeName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d%s", d/large, largeName)
	if rest := d % large / small; rest > 0 {
		s += fmt.Sprintf("%d%s", rest, smallName)
	}
	return s
}

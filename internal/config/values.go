package config

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// sizeUnits, with the longest names first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// parseSize reads a whole number of bytes, with or without a unit: 4096, 64MiB, 1GB.
func parseSize(s string) (int64, error) {
	digits := strings.TrimLeft(s, "0123456789")
	number, unit := s[:len(s)-len(digits)], strings.TrimPrefix(digits, " ")
	for _, u := range sizeUnits {
		if u.name != unit || number == "" || unit == "" && digits != "" {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > math.MaxInt64/u.bytes {
			return 0, fmt.Errorf("%q is too much", s)
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("%q is not a size: want bytes, or a whole number with KiB, MiB, GiB, TiB, kB, MB, GB or TB, as 64MiB", s)
}

// formatSize is the other way: the largest unit that gives a whole number.
func formatSize(n int64) string {
	for _, i := range []int{3, 2, 1, 0} {
		if u := sizeUnits[i]; n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// parseDuration reads a duration with a unit, which is not negative. "0" needs none.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("%q is not a duration: want a number with ms, s, m or h, as 30s or 1h30m", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return d, nil
}

// formatDuration leaves out the units that are zero: 5m instead of 5m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// parseBool reads true or false, as ZConfig does.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q: want true or false", s)
}

// parseCount reads a whole number of at least 1.
func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > math.MaxInt32 || s[0] == '+' {
		return 0, fmt.Errorf("%q: want a whole number of at least 1", s)
	}
	return n, nil
}

// parseAddress reads host:port, [v6]:port, :port, a bare port on this machine,
// or the path of a Unix socket.
func parseAddress(s string) (string, error) {
	want := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("%q "+format+": want host:port, [v6]:port, :port for all interfaces, a port on this machine, or the path of a Unix socket with a / in it", append([]any{s}, args...)...)
	}
	if strings.Contains(s, "://") {
		return want("is a URL")
	}
	path := strings.TrimPrefix(s, "unix:")
	if strings.Contains(path, "/") {
		if strings.ContainsRune(path, 0) || strings.HasSuffix(path, "/") {
			return want("is not the path of a socket")
		}
		if len(path) > 107 {
			return "", fmt.Errorf("%q has %d bytes, and the path of a Unix socket has at most 107: choose a shorter one", s, len(path))
		}
		return s, nil
	}
	if validPort(s) {
		return net.JoinHostPort("127.0.0.1", s), nil
	}
	host, port, err := net.SplitHostPort(s)
	switch {
	case err != nil && strings.Count(s, ":") > 1 && !strings.Contains(s, "["):
		return want("needs [ ] around the IPv6 address")
	case err != nil:
		return want("is not an address")
	case !validPort(port):
		return want("has no port from 0 to 65535")
	case strings.ContainsAny(host, " \t,;"):
		return want("has no host")
	}
	return net.JoinHostPort(host, port), nil
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n <= 65535
}

// nearest returns the name with the fewest edits to s, if those are few.
func nearest(s string, names []string) string {
	best, edits := "", len(s)/3+2
	for _, n := range names {
		if d := distance(strings.ToLower(strings.ReplaceAll(s, "_", "-")), n); d < edits {
			best, edits = n, d
		}
	}
	return best
}

// distance is the number of bytes that have to be put in, taken out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

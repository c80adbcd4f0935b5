package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// zoneFile is the time zone of the machine, unless TZ says another.
const zoneFile = "localtime" // in /etc

// parseTime reads the time that a flag was given. It is the one place that does: a time
// without an offset is refused if the local time zone is not known.
func (e *env) parseTime(flag, text string) (time.Time, error) {
	loc := time.Local
	why := zoneProblem(loc.String(), e.Getenv("TZ"), hasZoneFile)
	if why != "" {
		loc = nil
	}
	at, err := human.ParseTime(text, e.Now(), loc)
	switch {
	case errors.Is(err, human.ErrNoZone):
		return at, hint(usage("%s: %w: %s", flag, err, why), "give the offset, as in “2026-03-01 10:00:05 +01:00”, or set TZ to a name that this machine knows, such as Europe/Berlin")
	case err != nil:
		return at, usage("%s: %w", flag, err)
	}
	return at, nil
}

// zoneProblem says why the local time zone is not known; empty if it is. Package time
// takes UTC then, without a word: local is the name of the zone that it has, tz is $TZ.
// A machine with neither TZ nor /etc/localtime has UTC.
func zoneProblem(local, tz string, hasZoneFile func() bool) string {
	tz = strings.TrimPrefix(tz, ":")
	switch {
	case local != "UTC", tz == "UTC", tz == "UTC0":
		return ""
	case tz != "":
		return fmt.Sprintf("TZ is %q, which is not the name of a time zone here", tz)
	case hasZoneFile():
		return "/etc/" + zoneFile + " cannot be read"
	}
	return ""
}

// hasZoneFile also reports true for a symbolic link that leads nowhere.
func hasZoneFile() bool {
	etc, err := vfs.OS("/etc")
	if err != nil {
		return false
	}
	for entry, err := range etc.List(".") {
		if err == nil && entry.Name == zoneFile {
			return true
		}
	}
	return false
}

// warnFuture warns of a time that has not come yet where that keeps less than meant.
func (e *env) warnFuture(flag string, at time.Time, means string) {
	if ahead := at.Sub(e.Now()); ahead > 0 {
		e.note("warning: %s: %s is in the future, in %s: %s\n", flag, human.FormatTime(at, time.Local), human.Duration(ahead), means)
	}
}

package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/zodb"
)

// parseID accepts 16 hexadecimal digits, or 0x and up to 16 of them, as ZODB's
// own tools print them.
func parseID(text string) (uint64, bool) {
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		v, err := strconv.ParseUint(digits, 16, 64)
		return v, err == nil && len(digits) <= 16
	}
	if len(text) != 16 {
		return 0, false
	}
	v, err := strconv.ParseUint(text, 16, 64)
	return v, err == nil
}

// parseOID accepts the forms of inspect.ParseOID. Where a form could have been meant otherwise, it
// says on Stderr how it was read.
func (e *env) parseOID(text string) (zodb.OID, error) {
	oid, note, err := inspect.ParseOID(text)
	if err != nil {
		return 0, usage("bad oid %q: want 16 hexadecimal digits, 0x and up to 16, or a decimal number", text)
	}
	if note != "" {
		e.warn(note)
	}
	return oid, nil
}

// wantTID accepts a tid and no time; the empty text is 0.
func wantTID(flag, text string) (zodb.TID, error) {
	if text == "" {
		return 0, nil
	}
	v, ok := parseID(text)
	if !ok {
		return 0, usage("%s %q: want a tid: 16 hexadecimal digits, or 0x and up to 16", flag, text)
	}
	return zodb.TID(v), nil
}

// maxSeconds is more than anybody waits, and less than overflows a duration.
const maxSeconds = 1e9

// wantSeconds checks the flags for tries that are repeated.
func wantSeconds(timeout, interval float64) error {
	if !(timeout >= 0 && timeout <= maxSeconds && interval > 0 && interval <= maxSeconds) {
		return usage("-t and -s: want positive numbers of seconds")
	}
	return nil
}

// parseTID accepts a tid, or a time: that is then the tid of the moment.
func (e *env) parseTID(flag, text string) (zodb.TID, error) {
	if text == "" {
		return 0, nil
	}
	if v, ok := parseID(text); ok {
		return zodb.TID(v), nil
	}
	at, err := e.parseTime(flag+": neither a tid (16 hexadecimal digits, or 0x and up to 16) nor a time", text)
	return zodb.TIDFromTime(at), err
}

// printable makes foreign bytes fit for a terminal: everything but visible characters and plain
// spaces is escaped.
func printable(b []byte) string {
	var out strings.Builder
	for _, r := range strings.ToValidUTF8(string(b), "\uFFFD") {
		if r == '\\' || !strconv.IsPrint(r) {
			q := strconv.QuoteRune(r)
			out.WriteString(q[1 : len(q)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// cut makes a text short enough for a line of a list; --json has all of it.
func cut(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// formatTID gives the moment that a tid stands for, for people.
func formatTID(tid zodb.TID) string { return human.FormatTime(tid.Time(), time.Local) }

// formatLast gives a last transaction, which may be none.
func formatLast(tid zodb.TID) string {
	if tid == 0 {
		return "none"
	}
	return fmt.Sprintf("%s (%s)", tid, formatTID(tid))
}

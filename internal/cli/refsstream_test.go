package cli

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// fewWrites keeps the first writes, and fails at those after them, as a pipe that nobody reads.
type fewWrites struct {
	left   int
	writes []string
}

var errNobodyReads = errors.New("nobody reads")

func (w *fewWrites) Write(b []byte) (int, error) {
	if w.left == 0 {
		return 0, errNobodyReads
	}
	w.left--
	w.writes = append(w.writes, string(b))
	return len(b), nil
}

// TestRefsPrintsWhatItFindsAtOnce looks at the pieces in which a long list is printed: no piece holds more
// than one worker takes at a time, and the first error of writing ends the command.
func TestRefsPrintsWhatItFindsAtOnce(t *testing.T) {
	t.Parallel()
	h := newRefsHome(t, engine.CreateOptions{})
	const referring = 1000
	records := map[zodb.OID][]byte{0: pickled("Root")}
	for i := range referring {
		records[zodb.OID(i+1)] = pickled("Node", strongRef(0))
	}
	h.commit(records)
	run := func(w *fewWrites, flags ...string) (status int, stderr string) {
		var errs strings.Builder
		e := &env{Stdin: strings.NewReader(""), Stdout: w, Stderr: &errs, Now: time.Now, Getenv: func(string) string { return "" }}
		return run(t.Context(), e, append([]string{"refs", h.home, "0"}, flags...)), errs.String()
	}
	both := func(what string) {
		for _, flags := range [][]string{nil, {"--json"}, {"--weak"}} {
			all := &fewWrites{left: 1 << 20}
			if status, stderr := run(all, flags...); status != exitOK {
				t.Fatalf("%s %q: status %d, %s", what, flags, status, stderr)
			}
			lines := 0
			for _, b := range all.writes {
				n := strings.Count(b, "\n")
				if n > batchSize {
					t.Errorf("%s %q: %d lines in one write", what, flags, n)
				}
				lines += n
			}
			if lines < referring {
				t.Errorf("%s %q: %d lines", what, flags, lines)
			}
			for oid := range zodb.OID(referring) {
				want := fmt.Sprint(oid + 1)
				if n := strings.Count(strings.Join(all.writes, ""), want+" app.Node at"); len(flags) == 0 && n != 1 {
					t.Fatalf("%s: %s is listed %d times", what, want, n)
				}
			}
			few := &fewWrites{left: len(all.writes) / 2}
			status, stderr := run(few, flags...)
			if status != exitFailed || !strings.Contains(stderr, errNobodyReads.Error()) {
				t.Errorf("%s %q: a pipe that nobody reads: status %d, %s", what, flags, status, stderr)
			}
			// The output is the beginning of the list.
			if got := strings.Join(few.writes, ""); got == "" || !strings.HasPrefix(strings.Join(all.writes, ""), got) {
				t.Errorf("%s %q: the first half is\n%s", what, flags, got)
			}
		}
	}
	both("without an index")
	h.writeIndex(exitOK)
	both("with an index")
}

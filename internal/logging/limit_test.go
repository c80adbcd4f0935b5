package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// lockedBuffer is written to by timers too.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Split(strings.TrimSuffix(b.b.String(), "\n"), "\n")
}

var more = regexp.MustCompile(`… and (\d+) more: (\w+)`)

// TestFloodOfLinesIsCounted: each line that is not written is in the numbers of “and n more”.
func TestFloodOfLinesIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		log := Limit(New(&out, Options{}))
		const n = 100_000
		for i := range n {
			log.With("client", i).Warn("refused", "reason", strings.Repeat("x", i%50))
			if i%1000 == 0 {
				time.Sleep(time.Second)
			}
			if i == n/2 {
				log.Info("another")
			}
		}
		time.Sleep(time.Minute)
		written, counted, others := 0, 0, 0
		for _, line := range out.lines() {
			if m := more.FindStringSubmatch(line); m != nil {
				k, _ := strconv.Atoi(m[1])
				counted += k
				if m[2] != "refused" || k == 0 {
					t.Errorf("%q", line)
				}
			} else if strings.Contains(line, "refused") {
				written++
			} else {
				others++
			}
		}
		if written+counted != n || others != 1 {
			t.Errorf("%d lines written and %d counted of %d; %d of the other kind", written, counted, n, others)
		}
		if len(out.lines()) > limitBurst+2*100/5+5 {
			t.Errorf("%d lines in 100 seconds", len(out.lines()))
		}
	})
}

func TestLinesThatStayWithinTheLimitAreAllWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		log := Limit(New(&out, Options{Level: slog.LevelDebug}))
		for i := range limitBurst {
			log.Info("connected", "n", i)
			log.Debug("connected", "n", i) // another level is another kind
		}
		for i := range 50 {
			time.Sleep(limitEvery)
			log.Info("connected", "n", i)
		}
		if got, want := len(out.lines()), 2*limitBurst+50; got != want {
			t.Errorf("%d lines, want %d", got, want)
		}
	})
}

func TestFlushTellsOfWhatIsKeptBack(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	log := Limit(New(&out, Options{}))
	if again := Limit(log.With("storage", "1")); again.Handler().(*limitHandler).limit != log.Handler().(*limitHandler).limit {
		t.Error("a logger with a limit got another one")
	}
	for range limitBurst + 7 {
		log.Error("failed")
	}
	for range 2 {
		Flush(log)
	}
	lines := out.lines()
	if last := lines[len(lines)-1]; len(lines) != limitBurst+1 || !strings.Contains(last, "… and 7 more: failed") {
		t.Errorf("%d lines, the last one %q", len(lines), last)
	}
}

// TestMessagesThatNeverRepeatAreBounded: their number is limited, and so is what is
// remembered of them.
func TestMessagesThatNeverRepeatAreBounded(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	log := Limit(New(&out, Options{}))
	for i := range 10 * limitKinds {
		log.Info(fmt.Sprint("message ", i))
	}
	h := log.Handler().(*limitHandler)
	if n := len(h.limit.kinds); n > limitKinds+1 {
		t.Errorf("%d kinds are kept", n)
	}
	if n := len(out.lines()); n > limitKinds+2*limitBurst {
		t.Errorf("%d lines", n)
	}
	Flush(log)
	if last := out.lines()[len(out.lines())-1]; !strings.Contains(last, "more: lines of other kinds") {
		t.Errorf("the last line is %q", last)
	}
}

func TestNoLoggerLogsNothing(t *testing.T) {
	t.Parallel()
	log := Limit(nil)
	if log.Enabled(t.Context(), slog.LevelError) {
		t.Error("it is enabled")
	}
	log.Error("nothing")
	Flush(log)
}

// TestClockThatStepsBackSilencesNothing: lines come again as fast as before.
func TestClockThatStepsBackSilencesNothing(t *testing.T) {
	t.Parallel()
	l := &limit{kinds: make(map[kind]*counted)}
	k, now := kind{slog.LevelWarn, "refused"}, time.Unix(1e9, 0)
	take := func() bool {
		_, _, pass := l.take(k, now, slog.DiscardHandler)
		return pass
	}
	for take() {
	}
	now = now.Add(-24 * time.Hour)
	take() // tells the time
	now = now.Add(2 * limitEvery)
	if !take() {
		t.Error("nothing is written until the clock has caught up")
	}
}

package logging

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// The limits of lines that say the same. A server whose clients all come back at once
// is below them; a client that makes it log at the speed of the wire is not.
const (
	limitBurst = 200             // lines at once
	limitEvery = 5 * time.Second // later, one line in so much time
	limitKinds = 1000            // messages that are told apart
)

// Limit returns a logger that writes lines with the same message and level up to a
// limit, and counts the others: “… and n more” says how many they were, before the next
// one of them, or after a while. So a client that causes lines cannot fill the disk with them. A
// nil log gives one that writes nothing. It does nothing to a logger that has a limit already, and
// loggers that are made of one have its limit together.
func Limit(log *slog.Logger) *slog.Logger {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if _, limited := log.Handler().(*limitHandler); limited || log.Handler() == slog.DiscardHandler {
		return log
	}
	return slog.New(&limitHandler{next: log.Handler(), limit: &limit{kinds: make(map[kind]*counted)}})
}

// Flush writes how many lines a logger from [Limit] has kept back, for the end of a
// process.
func Flush(log *slog.Logger) {
	if h, ok := log.Handler().(*limitHandler); ok {
		h.limit.flush()
	}
}

// limitHandler passes on the records that the limit lets through.
type limitHandler struct {
	next  slog.Handler
	limit *limit
}

// limit is the state that the handlers of a logger share.
type limit struct {
	mu    sync.Mutex
	kinds map[kind]*counted // guarded by mu
}

// kind is the message and level that are counted together.
type kind struct {
	level   slog.Level
	message string
}

type counted struct {
	lines  float64 // that may be written, at the time at
	at     time.Time
	held   int          // lines that were kept back, and not told of
	next   slog.Handler // of the last of them
	timer  *time.Timer  // tells of them; nil if there are none
	serial int          // of the timer
}

func (h *limitHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *limitHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limitHandler{next: h.next.WithAttrs(attrs), limit: h.limit}
}

func (h *limitHandler) WithGroup(name string) slog.Handler {
	return &limitHandler{next: h.next.WithGroup(name), limit: h.limit}
}

func (h *limitHandler) Handle(ctx context.Context, r slog.Record) error {
	k, held, pass := h.limit.take(kind{r.Level, r.Message}, r.Time, h.next)
	if !pass {
		return nil
	}
	if held > 0 {
		tell(h.next, k, held, r.Time)
	}
	return h.next.Handle(ctx, r)
}

// take decides about a line. held lines are to be told of first.
func (l *limit) take(k kind, now time.Time, next slog.Handler) (_ kind, held int, pass bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.kinds[k]
	if c == nil && len(l.kinds) >= limitKinds {
		k.message = "lines of other kinds"
		c = l.kinds[k]
	}
	if c == nil {
		c = &counted{lines: limitBurst, at: now}
		l.kinds[k] = c
	}
	switch passed := now.Sub(c.at); {
	case passed > 0:
		c.lines = min(limitBurst, c.lines+passed.Seconds()/limitEvery.Seconds())
		c.at = now
	case passed < -time.Second: // a clock that stepped back silences no kind until it has caught up
		c.at = now
	}
	if c.lines >= 1 {
		c.lines--
		return k, c.release(), true
	}
	c.held++
	c.next = next
	if c.timer == nil {
		c.serial++
		serial := c.serial
		c.timer = time.AfterFunc(2*limitEvery, func() { l.late(k, c, serial) })
	}
	return k, 0, false
}

// release returns how many lines are to be told of. The limit's mu must be held.
func (c *counted) release() int {
	held := c.held
	c.held, c.next = 0, nil
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	return held
}

// late tells of the lines of a kind behind which none came any more.
func (l *limit) late(k kind, c *counted, serial int) {
	l.mu.Lock()
	if c.timer == nil || c.serial != serial {
		l.mu.Unlock()
		return
	}
	next, at := c.next, c.at
	held := c.release()
	l.mu.Unlock()
	tell(next, k, held, at)
}

// tell writes how many lines of a kind were kept back, the last of them at a time.
func tell(next slog.Handler, k kind, held int, at time.Time) {
	r := slog.NewRecord(at, k.level, fmt.Sprintf("… and %d more: %s", held, k.message), 0)
	_ = next.Handle(context.Background(), r) // a logger has nobody to tell of it
}

func (l *limit) flush() {
	l.mu.Lock()
	type told struct {
		next slog.Handler
		kind kind
		held int
		at   time.Time
	}
	var all []told
	for k, c := range l.kinds {
		if next := c.next; c.held > 0 {
			all = append(all, told{next, k, c.release(), c.at})
		}
	}
	l.mu.Unlock()
	for _, one := range all {
		tell(one.next, one.kind, one.held, one.at)
	}
}

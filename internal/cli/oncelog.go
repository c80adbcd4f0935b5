package cli

import (
	"context"
	"log/slog"
	"sync"
)

// onceLog makes loggers for the opens of one HOME by one command: an import opens it up to three times, and
// each open finds the same settings and the same file system. A record is left out if an earlier open has
// said it word for word as often as this one; so a trouble that comes again while HOME is open is told again.
type onceLog struct {
	to   slog.Handler
	mu   sync.Mutex
	told map[string]int // guarded by mu; by message and attributes
}

func newOnceLog(log *slog.Logger) *onceLog {
	return &onceLog{to: log.Handler(), told: make(map[string]int)}
}

// open returns the logger of the next open.
func (l *onceLog) open() *slog.Logger {
	return slog.New(openLog{Handler: l.to, of: l, said: make(map[string]int)})
}

// openLog is the handler of one open.
type openLog struct {
	slog.Handler
	of   *onceLog
	said map[string]int // guarded by of.mu
	with string         // attributes of all records
}

func (h openLog) Handle(ctx context.Context, r slog.Record) error {
	text := r.Message + h.with
	r.Attrs(func(a slog.Attr) bool {
		text += "\x00" + a.String()
		return true
	})
	if h.before(text) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// before counts a text, and reports whether an earlier open has said it as often.
func (h openLog) before(text string) bool {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	h.said[text]++
	before := h.of.told[text] >= h.said[text]
	h.of.told[text] = max(h.of.told[text], h.said[text])
	return before
}

func (h openLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	for _, a := range attrs {
		h.with += "\x00" + a.String()
	}
	return h
}

func (h openLog) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	h.with += "\x00" + name + "."
	return h
}

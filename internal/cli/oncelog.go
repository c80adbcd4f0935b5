package cli

import (
	"context"
	"log/slog"
	"sync"
)

// onceLog leaves out what it has said word for word: an import opens HOME more than once, and each open
// finds the same settings and the same file system.
type onceLog struct {
	slog.Handler
	mu   *sync.Mutex
	said map[string]bool // guarded by mu; the records by their message and attributes
}

func newOnceLog(log *slog.Logger) *slog.Logger {
	return slog.New(onceLog{Handler: log.Handler(), mu: new(sync.Mutex), said: make(map[string]bool)})
}

func (h onceLog) Handle(ctx context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += "\x00" + a.String()
		return true
	})
	h.mu.Lock()
	again := h.said[text]
	h.said[text] = true
	h.mu.Unlock()
	if again {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h onceLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.Handler = h.Handler.WithAttrs(attrs)
	return h
}

func (h onceLog) WithGroup(name string) slog.Handler {
	h.Handler = h.Handler.WithGroup(name)
	return h
}

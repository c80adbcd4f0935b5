package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// plainLog is the log of a storage in the form of the commands' own warnings, for a person who did
// not ask for a log: “warning: the file system has no journal (path=/srv/zodb)”.
type plainLog struct {
	w     io.Writer
	level slog.Level
	// erase takes a line of progress away.
	erase string

	mu         *sync.Mutex
	buffer     *bytes.Buffer // guarded by mu
	attributes slog.Handler  // writes the attributes of a record into buffer
}

func newPlainLog(w io.Writer, level slog.Level, terminal bool) *plainLog {
	h := &plainLog{w: w, level: level, mu: new(sync.Mutex), buffer: new(bytes.Buffer)}
	if terminal {
		h.erase = "\r" + eraseToEnd
	}
	h.attributes = slog.NewTextHandler(h.buffer, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}})
	return h
}

func (h *plainLog) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *plainLog) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buffer.Reset()
	if err := h.attributes.Handle(ctx, r); err != nil {
		return err
	}
	word := "warning"
	if r.Level >= slog.LevelError {
		word = "error"
	}
	line := word + ": " + r.Message
	if facts := strings.TrimSpace(h.buffer.String()); facts != "" {
		line += " (" + facts + ")"
	}
	_, err := fmt.Fprintf(h.w, "%s%s\n", h.erase, line)
	return err
}

func (h *plainLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.attributes = h.attributes.WithAttrs(attrs)
	return &next
}

func (h *plainLog) WithGroup(name string) slog.Handler {
	next := *h
	next.attributes = h.attributes.WithGroup(name)
	return &next
}

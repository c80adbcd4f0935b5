package logging

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Format of a log.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// ParseFormat returns the format of that name.
func ParseFormat(s string) (Format, error) {
	switch f := Format(strings.ToLower(s)); f {
	case Text, JSON:
		return f, nil
	}
	return "", fmt.Errorf("log format %q: want text or json", s)
}

// ParseLevel returns the level of that name: debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: want debug, info, warn or error", s)
}

// Options of a logger. The zero value gives the defaults.
type Options struct {
	Format Format // default Text
	// Level is the lowest that is written. A *slog.LevelVar can be changed at any
	// time. Default info.
	Level slog.Leveler
	// Journal leaves the time out of text, and puts the priority before it, as
	// journald expects it; see [ToJournal].
	Journal bool
	// Clock, if not nil, is asked for the time of each line, in place of the
	// time that the record has.
	Clock func() time.Time
	// Location of the times in text; default UTC. JSON has the offset with each.
	Location *time.Location
}

func (o Options) withDefaults() Options {
	if o.Format == "" {
		o.Format = Text
	}
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	return o
}

// New returns a logger that calls w.Write once for each line, never concurrently.
func New(w io.Writer, o Options) *slog.Logger {
	o = o.withDefaults()
	if o.Format == JSON {
		return slog.New(newJSON(w, o))
	}
	return slog.New(&textHandler{o: o, out: &output{w: w}})
}

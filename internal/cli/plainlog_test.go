package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestWarningsOfTheEngineLookLikeThoseOfTheCommands: without --verbose nobody asked for a log.
func TestWarningsOfTheEngineLookLikeThoseOfTheCommands(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	e := &env{Stderr: &out}
	l := e.logger()
	l.Info("opened", "path", "/h")
	l.Warn("the file system has no journal", "path", "/h")
	l.With("storage", "a b").Error("cannot write", "err", errors.New("no room"))
	l.WithGroup("g").Warn("plain")
	want := "warning: the file system has no journal (path=/h)\nerror: cannot write (storage=\"a b\" err=\"no room\")\nwarning: plain\n"
	if got := out.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	out.Reset()
	e.Terminal = true
	e.logger().Warn("it is full")
	if got := out.String(); got != "\r\x1b[Kwarning: it is full\n" {
		t.Errorf("on a terminal: %q", got)
	}
	out.Reset()
	e.Quiet = true
	if e.logger().Warn("it is full"); out.Len() > 0 {
		t.Errorf("with --quiet: %q", out.String())
	}
	e.Quiet, e.Verbose = false, true
	e.logger().Log(t.Context(), slog.LevelDebug, "a step")
	if got := out.String(); !strings.Contains(got, "level=DEBUG msg=\"a step\"") {
		t.Errorf("with --verbose: %q", got)
	}
}

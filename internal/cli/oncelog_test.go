package cli

import (
	"bytes"
	"log/slog"
	"testing"
)

// TestATroubleThatComesAgainIsToldAgain, while the findings of each open of the same HOME are told once.
func TestATroubleThatComesAgainIsToldAgain(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	opens := newOnceLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})))
	first := opens.open()
	first.Warn("unknown", "key", "a")
	first.Warn("unknown", "key", "b")
	first.With("path", "x").Warn("no room")
	second := opens.open()
	second.Warn("unknown", "key", "a")
	second.Warn("unknown", "key", "c")
	second.With("path", "y").Warn("no room")
	second.With("path", "x").Warn("no room")
	second.With("path", "x").Warn("no room")
	second.WithGroup("g").Warn("unknown", "key", "a")
	opens.open().With("path", "x").Warn("no room")
	want := `msg=unknown key=a
msg=unknown key=b
msg="no room" path=x
msg=unknown key=c
msg="no room" path=y
msg="no room" path=x
msg=unknown g.key=a
`
	if got := b.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

package logging

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonHandler is slog's, with the clock of the options.
type jsonHandler struct {
	slog.Handler
	clock func() time.Time // nil: the record's time
}

func newJSON(w io.Writer, o Options) slog.Handler {
	return &jsonHandler{clock: o.Clock, Handler: slog.NewJSONHandler(&asciiWriter{out: &output{w: w}}, &slog.HandlerOptions{
		Level: o.Level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			a.Value = jsonValue(a.Value)
			return a
		},
	})}
}

// jsonValue makes durations seconds, texts of any kind strings, and no string too long.
func jsonValue(v slog.Value) slog.Value {
	switch v.Kind() {
	case slog.KindDuration:
		return slog.Float64Value(v.Duration().Seconds())
	case slog.KindString:
		return slog.StringValue(cutText(v.String()))
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error, []byte:
			return slog.StringValue(cutText(anyText(x)))
		case encoding.TextMarshaler, json.Marshaler:
			return v
		case fmt.Stringer: // an address, say
			return slog.StringValue(cutText(anyText(x)))
		}
	}
	return v
}

func cutText(s string) string {
	head, rest := shorten(s)
	return head + rest
}

// Handle implements [slog.Handler].
func (h *jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	if h.clock != nil {
		r.Time = h.clock()
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h *jsonHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &jsonHandler{Handler: h.Handler.WithAttrs(attrs), clock: h.clock}
}

// WithGroup implements [slog.Handler].
func (h *jsonHandler) WithGroup(name string) slog.Handler {
	return &jsonHandler{Handler: h.Handler.WithGroup(name), clock: h.clock}
}

// asciiWriter escapes invisible characters. JSON allows such characters, but only
// within strings, where an escape means the same.
type asciiWriter struct{ out *output }

func (w *asciiWriter) Write(line []byte) (int, error) {
	b := make([]byte, 0, len(line)+16)
	for i := 0; i < len(line); {
		r, size := utf8.DecodeRune(line[i:])
		switch {
		case r < utf8.RuneSelf && r != 0x7f, r >= utf8.RuneSelf && shown(r):
			b = append(b, line[i:i+size]...)
		default:
			b = appendEscape(b, r)
		}
		i += size
	}
	if _, err := w.out.Write(b); err != nil {
		return 0, err
	}
	return len(line), nil
}

// appendEscape appends \uXXXX, twice for a character that needs two.
func appendEscape(b []byte, r rune) []byte {
	if hi, lo := utf16.EncodeRune(r); hi != utf8.RuneError {
		return appendEscape(appendEscape(b, hi), lo)
	}
	digits := strconv.FormatUint(0x10000|uint64(r), 16)
	return append(append(b, `\u`...), digits[1:]...)
}

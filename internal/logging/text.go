package logging

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Lengths in bytes. journald splits a line longer than 48 KiB, and the next would begin in the
// middle of a value.
const (
	maxValue = 4 << 10
	maxLine  = 32 << 10
)

// output writes one line at a time.
type output struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

// textHandler makes lines of text. It does not change after it was made.
type textHandler struct {
	o      Options
	out    *output
	attrs  []byte // attributes added by With, formatted
	prefix string // of keys, from WithGroup
}

// Enabled implements [slog.Handler].
func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.o.Level.Level() }

// WithAttrs implements [slog.Handler].
func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.attrs = slices.Clone(h.attrs)
	for _, a := range attrs {
		more.attrs = appendAttr(more.attrs, h.prefix, a)
	}
	return &more
}

// WithGroup implements [slog.Handler].
func (h *textHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	more := *h
	more.prefix += name + "."
	return &more
}

// Handle implements [slog.Handler].
func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	b := make([]byte, 0, 256)
	at := r.Time
	if h.o.Clock != nil {
		at = h.o.Clock()
	}
	switch {
	case h.o.Journal:
		b = append(b, '<', priority(r.Level), '>')
	case !at.IsZero():
		b = append(at.In(h.o.Location).AppendFormat(b, "2006-01-02 15:04:05.000"), ' ')
	}
	b = fmt.Appendf(b, "%-5s ", r.Level)
	b = appendMessage(b, r.Message)
	b = append(b, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		b = appendAttr(b, h.prefix, a)
		return true
	})
	if len(b) > maxLine {
		b = append(trim(b, maxLine), "…"...)
	}
	_, err := h.out.Write(append(b, '\n'))
	return err
}

// priority is the level as syslog has it; see sd-daemon(3).
func priority(l slog.Level) byte {
	switch {
	case l >= slog.LevelError:
		return '3'
	case l >= slog.LevelWarn:
		return '4'
	case l >= slog.LevelInfo:
		return '6'
	}
	return '7'
}

// appendAttr appends “ key=value”, for a group one for each of its members.
func appendAttr(b []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			b = appendAttr(b, prefix, member)
		}
		return b
	}
	if a.Key == "" && v.Any() == nil {
		return b
	}
	b = append(b, ' ')
	b = appendValue(b, prefix+a.Key)
	b = append(b, '=')
	return appendValue(b, text(v))
}

// text is a value as text; nothing in it is escaped.
func text(v slog.Value) (s string) {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		return anyText(v.Any())
	}
	return v.String()
}

func anyText(x any) (s string) {
	defer func() {
		if p := recover(); p != nil { // a nil pointer whose methods do not expect it
			s = fmt.Sprintf("!PANIC %v", p)
		}
	}()
	switch x := x.(type) {
	case error:
		return x.Error()
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			return "!ERROR " + err.Error()
		}
		return string(b)
	case []byte:
		return string(x)
	}
	return fmt.Sprintf("%+v", x)
}

// appendValue appends a key or value, in quotes if it would not be seen where
// it ends otherwise.
func appendValue(b []byte, s string) []byte {
	s, rest := shorten(s)
	if plain(s) {
		b = append(b, s...)
	} else {
		b = strconv.AppendQuote(b, s)
	}
	return append(b, rest...)
}

// appendMessage appends a message, which may have spaces, but must not look as if it
// were several.
func appendMessage(b []byte, s string) []byte {
	s, rest := shorten(s)
	if printable(s) {
		b = append(b, s...)
	} else {
		b = strconv.AppendQuote(b, s)
	}
	return append(b, rest...)
}

// shorten cuts a text that is too long, and returns a remark on that.
func shorten(s string) (head, rest string) {
	if len(s) <= maxValue {
		return s, ""
	}
	head = string(trim([]byte(s), maxValue))
	return head, fmt.Sprintf("…(%d bytes more)", len(s)-len(head))
}

// trim cuts b to at most n bytes, not within a character.
func trim(b []byte, n int) []byte {
	cut := n
	for cut > n-utf8.UTFMax && !utf8.RuneStart(b[cut]) {
		cut--
	}
	if !utf8.RuneStart(b[cut]) {
		cut = n // no UTF-8 at all
	}
	return b[:cut]
}

// plain reports whether a text needs no quotes.
func plain(s string) bool {
	if s == "" {
		return false
	}
	for _, r := range s {
		if r == ' ' || r == '"' || r == '=' || !shown(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// printable reports whether a text is shown as it is.
func printable(s string) bool {
	for _, r := range s {
		if r != ' ' && !shown(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// shown reports whether a character is seen, and does nothing else: no control
// character, no other space, nothing that changes the direction of writing.
func shown(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }

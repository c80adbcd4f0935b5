package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/slogtest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/logging"
	"github.com/dirstorage/dirstorage/zodb"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC) }

// logged returns the output of one call.
func logged(o logging.Options, call func(*slog.Logger)) string {
	var b bytes.Buffer
	o.Clock = noon
	call(logging.New(&b, o))
	return b.String()
}

// broken is a type whose methods do not expect nil.
type broken struct{ text string }

func (b *broken) MarshalText() ([]byte, error) { return []byte(b.text), nil }

func TestLineOfText(t *testing.T) {
	t.Parallel()
	const at = "2026-03-01 12:00:00.123 "
	for _, tc := range []struct {
		name string
		call func(*slog.Logger)
		want string
	}{
		{"message", func(l *slog.Logger) { l.Info("opened") }, at + "INFO  opened\n"},
		{"levels", func(l *slog.Logger) { l.Debug("no"); l.Warn("w"); l.Error("e") }, at + "WARN  w\n" + at + "ERROR e\n"},
		{"kinds", func(l *slog.Logger) {
			l.Info("m", "tid", zodb.TID(0xabc), "n", 7, "dur", 1500*time.Millisecond, "ok", true, "f", 0.5, "at", noon(), "bytes", []byte("b"), "none", nil)
		}, at + "INFO  m tid=0000000000000ABC n=7 dur=1.5s ok=true f=0.5 at=2026-03-01T12:00:00.123456789Z bytes=b none=<nil>\n"},
		{"quotes where needed", func(l *slog.Logger) {
			l.Info("m", "path", "/srv/zodb", "empty", "", "space", "a b", "equals", "a=b", "quote", `a"b`, "umlaut", "Zoë", "back", `a\b`)
		}, at + `INFO  m path=/srv/zodb empty="" space="a b" equals="a=b" quote="a\"b" umlaut=Zoë back=a\b` + "\n"},
		{"error", func(l *slog.Logger) { l.Info("m", "err", errors.Join(errors.New("one"), errors.New("two"))) }, at + `INFO  m err="one\ntwo"` + "\n"},
		{"address", func(l *slog.Logger) { l.Info("m", "client", &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}) }, at + "INFO  m client=10.0.0.1:80\n"},
		{"with", func(l *slog.Logger) { l.With("storage", "main").With("a b", 1).Info("m", "x", 2) }, at + `INFO  m storage=main "a b"=1 x=2` + "\n"},
		{"groups", func(l *slog.Logger) {
			l.WithGroup("g").With("a", 1).WithGroup("h").Info("m", "b", 2, slog.Group("i", "c", 3), slog.Group("", "d", 4), slog.Group("empty"))
		}, at + "INFO  m g.a=1 g.h.b=2 g.h.i.c=3 g.h.d=4\n"},
		{"nil with methods", func(l *slog.Logger) { l.Info("m", "x", (*broken)(nil)) }, at + `INFO  m x="!PANIC runtime error: invalid memory address or nil pointer dereference"` + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, logged(logging.Options{}, tc.call)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJournalGetsPriorityAndNoTime(t *testing.T) {
	t.Parallel()
	got := logged(logging.Options{Journal: true, Level: slog.LevelDebug}, func(l *slog.Logger) {
		l.Debug("d")
		l.Info("i", "n", 1)
		l.Warn("w")
		l.Error("e")
		l.Log(context.Background(), slog.LevelError+4, "f")
	})
	if diff := cmp.Diff("<7>DEBUG d\n<6>INFO  i n=1\n<4>WARN  w\n<3>ERROR e\n<3>ERROR+4 f\n", got); diff != "" {
		t.Error(diff)
	}
}

func TestLineOfJSON(t *testing.T) {
	t.Parallel()
	got := logged(logging.Options{Format: logging.JSON}, func(l *slog.Logger) {
		l.With("storage", "main").Warn("flushed", "tid", zodb.TID(0xabc), "dur", 1500*time.Millisecond, "err", errors.New("a\nb"),
			"client", &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, slog.Group("g", "n", 7, "dur", time.Second), "bytes", []byte("b"))
	})
	want := `{"time":"2026-03-01T12:00:00.123456789Z","level":"WARN","msg":"flushed","storage":"main","tid":"0000000000000ABC","dur":1.5,` +
		`"err":"a\nb","client":"10.0.0.1:80","g":{"n":7,"dur":1},"bytes":"b"}` + "\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// hostile are texts that a client may choose.
func hostile() []string {
	texts := []string{
		"a\n2026-03-01 12:00:00.123 ERROR storage became read-only", "a\r\nb", "\x1b[2J\x1b]0;title\x07", "\u009b31m", "\u0085", "\u2028\u2029",
		"\u202egnp.exe", "\u2066x\u2069", "\u200b", "\ufeff", "\xff\xfe", "a\x00b", "\x7f", "\"}\n{\"level\":\"ERROR\"", `" err="none`, "a b=c", "=", "",
		"\U000E0041", "\U0001F600", "<3>", "é\u0301", "\u00a0", "\ufffd",
		strings.Repeat("x", 1<<20), strings.Repeat("\n", 1<<20), strings.Repeat("é", 1<<20), strings.Repeat("\xbf", 1<<20),
	}
	for r := rune(0); r < 0x300; r++ {
		texts = append(texts, string(r))
	}
	return texts
}

// places are where a text of a client can come into a record.
func places(text string) map[string]func(*slog.Logger) {
	return map[string]func(*slog.Logger){
		"value": func(l *slog.Logger) { l.Info("m", "client", text, "after", "x") },
		"with":  func(l *slog.Logger) { l.With("client", text).Info("m", "after", "x") },
		"error": func(l *slog.Logger) {
			l.Info("m", "err", fmt.Errorf("client %s: %w", text, fs.ErrInvalid), "after", "x")
		},
		"bytes":    func(l *slog.Logger) { l.Info("m", "bytes", []byte(text), "after", "x") },
		"stringer": func(l *slog.Logger) { l.Info("m", "addr", &net.UnixAddr{Name: text, Net: "unix"}, "after", "x") },
		"group":    func(l *slog.Logger) { l.Info("m", slog.Group("g", "client", text), "after", "x") },
		"message":  func(l *slog.Logger) { l.Info(text, "after", "x") },
		"key":      func(l *slog.Logger) { l.Info("m", text, "v", "after", "x") },
		"struct": func(l *slog.Logger) {
			l.Info("m", "s", struct{ Text string }{text[:min(len(text), 1000)]}, "after", "x")
		},
	}
}

// TestNoTextOfAClientBecomesALine tries every control character, and worse, at
// every place, in both formats.
func TestNoTextOfAClientBecomesALine(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]logging.Options{"text": {}, "journal": {Journal: true}, "json": {Format: logging.JSON}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, text := range hostile() {
				for place, call := range places(text) {
					short := text[:min(len(text), 20)]
					if name == "json" && place == "key" && len(text) > 1000 {
						continue // keys are ours
					}
					line := logged(o, call)
					body, ended := strings.CutSuffix(line, "\n")
					if !ended || strings.Contains(body, "\n") {
						t.Errorf("%s %q: not one line: %.200q", place, short, line)
					}
					if !utf8.ValidString(line) {
						t.Errorf("%s %q: no UTF-8: %.200q", place, short, line)
					}
					if len(line) > 33<<10 {
						t.Errorf("%s %q: %d bytes", place, short, len(line))
					}
					for _, r := range body {
						if !unicode.IsPrint(r) {
							t.Errorf("%s %q: %U is in the line", place, short, r)
							break
						}
					}
					if name == "json" {
						checkJSON(t, place, text, body)
					} else if !strings.HasSuffix(body, " after=x") {
						t.Errorf("%s %q: something comes last: %.200q", place, short, body)
					}
				}
			}
		})
	}
}

// checkJSON looks whether a line is one object that still has the text in it.
func checkJSON(t *testing.T, place, text, line string) {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Errorf("%s %.20q: %v in %.200q", place, text, err, line)
		return
	}
	if place == "value" && len(text) < 1000 && utf8.ValidString(text) && m["client"] != text {
		t.Errorf("%.20q became %.40q", text, m["client"])
	}
	if m["after"] != "x" && text != "after" {
		t.Errorf("%s %.20q: after is %v", place, text, m["after"])
	}
}

// TestQuotesTellWhereAValueEnds: two different values never look the same.
func TestQuotesTellWhereAValueEnds(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, text := range hostile() {
		if len(text) > 1000 {
			continue
		}
		line := logged(logging.Options{}, func(l *slog.Logger) { l.Info("m", "client", text) })
		if other, ok := seen[line]; ok && other != text {
			t.Errorf("%q and %q are both %q", text, other, line)
		}
		seen[line] = text
	}
}

func TestLongValueIsCut(t *testing.T) {
	t.Parallel()
	for _, o := range []logging.Options{{}, {Format: logging.JSON}} {
		got := logged(o, func(l *slog.Logger) { l.Info("m", "client", strings.Repeat("é", 5000), "after", 1) })
		if n := strings.Count(got, "é"); n != 2048 || !strings.Contains(got, "…(5904 bytes more)") || !strings.Contains(got, "after") {
			t.Errorf("%s: %d characters of it; %d bytes, ends in %q", o.Format, n, len(got), got[len(got)-60:])
		}
	}
}

func TestLongLineIsCut(t *testing.T) {
	t.Parallel()
	got := logged(logging.Options{}, func(l *slog.Logger) {
		for range 20 {
			l = l.With("k", strings.Repeat("é", 2000))
		}
		l.Info("m")
	})
	if len(got) > 33<<10 || !strings.HasSuffix(got, "…\n") || !utf8.ValidString(got) {
		t.Errorf("%d bytes, ends in %q", len(got), got[len(got)-10:])
	}
}

func TestLevelChangesWhileItRuns(t *testing.T) {
	t.Parallel()
	for _, format := range []logging.Format{logging.Text, logging.JSON} {
		var level slog.LevelVar
		var b bytes.Buffer
		l := logging.New(&b, logging.Options{Format: format, Level: &level}).With("a", 1)
		l.Debug("one")
		level.Set(slog.LevelDebug)
		l.Debug("two")
		level.Set(slog.LevelError)
		l.Warn("three")
		if got := b.String(); strings.Contains(got, "one") || !strings.Contains(got, "two") || strings.Contains(got, "three") {
			t.Errorf("%s: %s", format, got)
		}
	}
}

// counting fails a test if two lines are written at once.
type counting struct {
	busy  sync.Mutex
	lines int
	t     *testing.T
}

func (c *counting) Write(b []byte) (int, error) {
	if !c.busy.TryLock() {
		c.t.Error("written at once")
		return 0, nil
	}
	defer c.busy.Unlock()
	if bytes.Count(b, []byte("\n")) != 1 || b[len(b)-1] != '\n' {
		c.t.Errorf("not a line: %q", b)
	}
	c.lines++
	return len(b), nil
}

func TestEachLineIsOneWrite(t *testing.T) {
	t.Parallel()
	for _, format := range []logging.Format{logging.Text, logging.JSON} {
		w := &counting{t: t}
		l := logging.New(w, logging.Options{Format: format}).With("x", 1)
		var wait sync.WaitGroup
		for i := range 8 {
			wait.Go(func() {
				for range 200 {
					l.With("i", i).Info("m", "y", "z")
				}
			})
		}
		wait.Wait()
		if w.lines != 1600 {
			t.Errorf("%s: %d lines", format, w.lines)
		}
	}
}

func TestJSONHandlerKeepsTheRulesOfSlog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		b.Reset()
		return logging.New(&b, logging.Options{Format: logging.JSON}).Handler()
	}, func(t *testing.T) map[string]any {
		m := make(map[string]any)
		if err := json.Unmarshal(b.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		return m
	})
}

func TestTextHandlerKeepsTheRulesOfSlog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		b.Reset()
		return logging.New(&b, logging.Options{}).Handler()
	}, func(*testing.T) map[string]any {
		return parse(strings.Fields(b.String()))
	})
}

// parse makes a map of groups out of the words of a line without quotes.
func parse(words []string) map[string]any {
	m := make(map[string]any)
	if len(words) > 1 && words[0][0] == '2' {
		m[slog.TimeKey] = words[0] + " " + words[1]
		words = words[2:]
	}
	m[slog.LevelKey] = words[0]
	for _, w := range words[1:] {
		key, value, isAttr := strings.Cut(w, "=")
		if !isAttr {
			m[slog.MessageKey] = w
			continue
		}
		at := m
		names := strings.Split(key, ".")
		for _, group := range names[:len(names)-1] {
			inner, ok := at[group].(map[string]any)
			if !ok {
				inner = make(map[string]any)
				at[group] = inner
			}
			at = inner
		}
		at[names[len(names)-1]] = value
	}
	return m
}

func TestFormatAndLevelAreStrict(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]logging.Format{"text": logging.Text, "JSON": logging.JSON, "": "", "logfmt": ""} {
		if got, err := logging.ParseFormat(text); got != want || (err == nil) != (want != "") {
			t.Errorf("format %q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]slog.Level{"debug": slog.LevelDebug, "Info": slog.LevelInfo, "warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := logging.ParseLevel(text); got != want || err != nil {
			t.Errorf("level %q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "trace", "info+1", "4"} {
		if _, err := logging.ParseLevel(text); err == nil {
			t.Errorf("level %q is one", text)
		}
	}
}

// TestOnlyTheStreamThatSystemdMadeIsTheJournal: a child whose output was
// redirected inherits JOURNAL_STREAM.
func TestOnlyTheStreamThatSystemdMadeIsTheJournal(t *testing.T) {
	t.Parallel()
	f, err := os.Create(t.TempDir() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Skip("no inodes here")
	}
	own := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	for _, tc := range []struct {
		stream string
		want   bool
	}{
		{own, true}, {"", false}, {own + "0", false}, {"1:1", false}, {"rubbish", false},
	} {
		getenv := func(name string) string {
			if name != "JOURNAL_STREAM" {
				t.Errorf("asked for %s", name)
			}
			return tc.stream
		}
		if got := logging.ToJournal(f, getenv); got != tc.want {
			t.Errorf("JOURNAL_STREAM=%s: %v", tc.stream, got)
		}
	}
}

func BenchmarkText(b *testing.B) {
	l := logging.New(discard{}, logging.Options{}).With("storage", "main")
	for b.Loop() {
		l.Info("flushed", "transactions", 5, "files", 17, "tid", zodb.TID(1), "dur", time.Second)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

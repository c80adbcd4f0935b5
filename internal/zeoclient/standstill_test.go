package zeoclient_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// TestIterationThatStandsStillEnds: the server answers each request, or none, and does not go on.
func TestIterationThatStandsStillEnds(t *testing.T) {
	t.Parallel()
	errorOf := func(text string) func(f *fake, m wire.Message, n int) {
		return func(f *fake, m wire.Message, n int) {
			f.fail(m, "builtins.Exception", wire.Tuple{strings.ReplaceAll(text, "N", fmt.Sprint(n%2))})
		}
	}
	same := func(oid zodb.OID, tid zodb.TID) any { return wire.Tuple{oid, tid, []byte("x"), nil} }
	for _, tt := range []struct {
		name, request string
		answer        func(f *fake, m wire.Message, n int)
		want          string
	}{
		{"the same transaction", "iterator_next", func(f *fake, m wire.Message, _ int) {
			f.reply(m, wire.Tuple{zodb.TID(3), " ", []byte("u"), []byte("d"), wire.Dict{}})
		}, "its iterator does not go on"},
		{"the same error", "iterator_next", errorOf("broken"), "broken"},
		{"two errors by turns", "iterator_next", errorOf("broken N"), "broken"},
		{"the end", "iterator_next", func(f *fake, m wire.Message, _ int) { f.reply(m, nil) }, "those between are missing"},
		{"the end behind an error", "iterator_next", func(f *fake, m wire.Message, n int) {
			if n == 1 {
				errorOf("broken")(f, m, n)
			} else {
				f.reply(m, nil)
			}
		}, "those between are missing"},
		{"no answer", "iterator_next", func(*fake, wire.Message, int) {}, "has sent nothing for"},
		{"the same record", "iterator_record_next", func(f *fake, m wire.Message, _ int) { f.reply(m, same(1, 2)) }, "more than 1000 times"},
		{"a record and an error by turns", "iterator_record_next", func(f *fake, m wire.Message, n int) {
			if n%2 == 0 {
				errorOf("broken")(f, m, n)
			} else {
				f.reply(m, same(1, 2))
			}
		}, "broken"},
		{"two errors of records by turns", "iterator_record_next", errorOf("broken N"), "broken"},
		{"no record", "iterator_record_next", func(*fake, wire.Message, int) {}, "has sent nothing for"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, e wire.Encoding) {
				n := 0
				o := registered(t, standing(tt.request, func(f *fake, m wire.Message) {
					n++
					tt.answer(f, m, n)
				}))
				o.Encoding, o.Patience = e, 100*time.Millisecond
				c := dial(t, o)
				var last error
				for txn, err := range c.IterateSalvage(t.Context(), 0, 0, func(error) bool { return true }) {
					if last = err; err != nil {
						break
					}
					for _, err := range txn.Records() {
						if last = err; err != nil && !strings.Contains(err.Error(), "broken") {
							break
						}
					}
				}
				if last == nil || !strings.Contains(last.Error(), tt.want) {
					t.Errorf("the iteration ends with %v, want %q", last, tt.want)
				}
			})
		})
	}
}

// standing plays the server of a storage with 5 transactions, of which the second has the answer of a server
// that stands still.
func standing(name string, answer func(f *fake, m wire.Message)) func(f *fake) {
	return func(f *fake) {
		at := zodb.TID(0)
		for {
			frame, err := f.in.Next()
			if err != nil {
				return
			}
			m, err := wire.Decode(f.e, bytes.Clone(frame))
			if err != nil {
				return
			}
			switch {
			case m.Name == "lastTransaction":
				f.reply(m, zodb.TID(5))
			case m.Name == "iterator_start":
				f.reply(m, int64(0))
			case m.Name == name && at > 0:
				answer(f, m)
			case m.Name == "iterator_next":
				at++
				f.reply(m, wire.Tuple{at, " ", []byte("u"), []byte("d"), wire.Dict{}})
			case m.Name == "iterator_record_start":
				f.reply(m, int64(1))
			case m.Name == "iterator_record_next":
				f.reply(m, nil)
			}
		}
	}
}

// TestPatienceIsForAnswersOnly: a consumer may take its time, and a connection without an iteration is not watched.
func TestPatienceIsForAnswersOnly(t *testing.T) {
	t.Parallel()
	const patience = 50 * time.Millisecond
	passed := func() { // the patience of another client
		o := registered(t, (*fake).drain)
		o.Patience = patience
		for _, err := range dial(t, o).Iterate(t.Context(), 0, 0) {
			if err == nil {
				t.Error("a transaction of nowhere")
			}
		}
	}
	o := registered(t, iterating(5, nil))
	o.Patience = patience
	c := dial(t, o)
	n := 0
	for _, err := range c.Iterate(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 {
			passed()
			passed()
		}
	}
	if n != 5 {
		t.Errorf("%d transactions", n)
	}
	passed()
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

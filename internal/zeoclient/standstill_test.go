package zeoclient_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// silence is in the error of a server that answers nothing.
const silence = "has answered nothing for"

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
		{"the end behind an error that mentions the last one", "iterator_next", func(f *fake, m wire.Message, n int) {
			if n == 1 {
				errorOf("broken 0000000000000002, and transaction 0000000000000005: too")(f, m, n)
			} else {
				f.reply(m, nil)
			}
		}, "those between are missing"},
		{"the end behind an error of another one that mentions the last one", "iterator_next", func(f *fake, m wire.Message, n int) {
			if n == 1 {
				errorOf("transaction 0000000000000002: broken, behind it is 0000000000000005")(f, m, n)
			} else {
				f.reply(m, nil)
			}
		}, "those between are missing"},
		{"no answer", "iterator_next", func(*fake, wire.Message, int) {}, silence},
		{"the same record", "iterator_record_next", func(f *fake, m wire.Message, _ int) { f.reply(m, same(1, 2)) }, "more than 1000 times"},
		{"two records by turns", "iterator_record_next", func(f *fake, m wire.Message, n int) { f.reply(m, same(zodb.OID(n%2), 2)) }, "more than 1000 times"},
		{"a record and an error by turns", "iterator_record_next", func(f *fake, m wire.Message, n int) {
			if n%2 == 0 {
				errorOf("broken")(f, m, n)
			} else {
				f.reply(m, same(1, 2))
			}
		}, "broken"},
		{"two errors of records by turns", "iterator_record_next", errorOf("broken N"), "broken"},
		{"announcements and no answer", "iterator_next", func(f *fake, _ wire.Message, _ int) { f.announces() }, silence},
		{"announcements and no record", "iterator_record_next", func(f *fake, _ wire.Message, _ int) { f.announces() }, silence},
		{"a message that is never whole", "iterator_next", func(f *fake, _ wire.Message, _ int) { f.trickles() }, silence},
		{"no record", "iterator_record_next", func(*fake, wire.Message, int) {}, silence},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, e wire.Encoding) {
				n := 0
				o := registered(t, standing(tt.request, func(f *fake, m wire.Message) {
					n++
					tt.answer(f, m, n)
				}))
				if o.Encoding = e; tt.want == silence {
					o.Patience = 100 * time.Millisecond
				}
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

// TestInfoOfASilentServerEnds: an import asks for it before it iterates, and between two iterations.
func TestInfoOfASilentServerEnds(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]func(*fake){"nothing": (*fake).drain, "announcements": (*fake).announces, "a message that is never whole": (*fake).trickles} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			both(t, func(t *testing.T, e wire.Encoding) {
				o := registered(t, script)
				o.Encoding, o.Patience = e, 100*time.Millisecond
				c := dial(t, o)
				if _, err := c.GetInfo(t.Context()); err == nil || !strings.Contains(err.Error(), silence) {
					t.Errorf("GetInfo ends with %v, want %q", err, silence)
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

// announces tells of transactions until the client has gone.
func (f *fake) announces() {
	next := time.NewTicker(time.Millisecond)
	defer next.Stop()
	for tid := zodb.TID(101); ; tid++ {
		<-next.C
		if f.call("invalidateTransaction", tid, wire.List{}) != nil || f.call("info", wire.Dict{}) != nil {
			return
		}
	}
}

// trickles sends a message byte by byte until the client has gone.
func (f *fake) trickles() {
	next := time.NewTicker(time.Millisecond)
	defer next.Stop()
	for b := []byte{0x7f, 0xff, 0xff, 0xff, 0}; ; b = []byte{0} {
		if _, err := f.conn.Write(b); err != nil {
			return
		}
		<-next.C
	}
}

// TestTheLastTransactionMayBePassedOver: the server tells that it cannot read it, and then the list ends.
func TestTheLastTransactionMayBePassedOver(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, e wire.Encoding) {
		n := 0
		o := registered(t, standing("iterator_next", func(f *fake, m wire.Message) {
			if n++; n == 1 {
				f.fail(m, "ZODB.POSException.StorageSystemError", wire.Tuple{wire.BreakTransaction(5, errors.New("it is damaged")).Error()})
			} else {
				f.reply(m, nil)
			}
		}))
		o.Encoding = e
		var skipped []error
		seen := 0
		for _, err := range dial(t, o).IterateSalvage(t.Context(), 0, 0, func(err error) bool { skipped = append(skipped, err); return true }) {
			if err != nil {
				t.Fatal(err)
			}
			seen++
		}
		if seen != 1 || len(skipped) != 1 {
			t.Errorf("%d transactions, and passed over: %v", seen, skipped)
		}
	})
}

// TestPatienceWithASlowReaderOfABlob: its own slowness is not the server's.
func TestPatienceWithASlowReaderOfABlob(t *testing.T) {
	t.Parallel()
	const patience = 50 * time.Millisecond
	asked := make(chan struct{})
	o := registered(t, func(f *fake) {
		for {
			frame, err := f.in.Next()
			if err != nil {
				return
			}
			m, err := wire.Decode(f.e, bytes.Clone(frame))
			if err != nil {
				return
			}
			switch m.Name {
			case "lastTransaction":
				f.reply(m, zodb.TID(5))
			case "iterator_start":
				f.reply(m, int64(0))
			case "iterator_next":
				f.reply(m, wire.Tuple{zodb.TID(5), " ", []byte("u"), []byte("d"), wire.Dict{}})
			case "iterator_record_start":
				f.reply(m, int64(1))
			case "iterator_record_next":
				f.reply(m, nil)
			case "sendBlob":
				for _, name := range []string{"receiveBlobStart", "receiveBlobChunk", "receiveBlobStop"} {
					args := []any{zodb.OID(1), zodb.TID(5)}
					if name == "receiveBlobChunk" {
						args = append(args, []byte("piece"))
					}
					if f.call(name, args...) != nil {
						return
					}
				}
				f.reply(m, nil)
				close(asked)
			}
		}
	})
	o.Patience = patience
	c := dial(t, o)
	for _, err := range c.Iterate(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n, err := c.SendBlob(t.Context(), 1, 5, writer(func(b []byte) (int, error) {
			wait(t, "the rest of the blob", asked)
			passes(t, patience)
			passes(t, patience)
			return len(b), nil
		}))
		if n != 5 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// passes returns when the patience of another client has ended.
func passes(t *testing.T, patience time.Duration) {
	o := registered(t, (*fake).drain)
	o.Patience = patience
	for _, err := range dial(t, o).Iterate(t.Context(), 0, 0) {
		if err == nil {
			t.Error("a transaction of nowhere")
		}
	}
}

// TestPatienceIsForAnswersOnly: a consumer may take its time, and a connection without an iteration is not watched.
func TestPatienceIsForAnswersOnly(t *testing.T) {
	t.Parallel()
	const patience = 50 * time.Millisecond
	o := registered(t, iterating(5, nil))
	o.Patience = patience
	c := dial(t, o)
	n := 0
	for _, err := range c.Iterate(t.Context(), 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 {
			passes(t, patience)
			passes(t, patience)
		}
	}
	if n != 5 {
		t.Errorf("%d transactions", n)
	}
	passes(t, patience)
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

package zeo

import (
	"bytes"
	"math/big"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// TestTextOfWhatAClientSentIsBounded looks at the longest of each kind.
func TestTextOfWhatAClientSentIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	nested := any(wire.Tuple{long, long})
	for range 50 {
		nested = wire.Tuple{nested, wire.List{nested}, wire.Dict{{Key: nested, Value: []byte(long)}}}
	}
	many := make(wire.List, 1<<20)
	values := map[string]any{
		"text": long, "bytes": []byte(long), "deep": nested, "many": many, "items": wire.Tuple{long, long, long, long},
		"integer": new(big.Int).Lsh(big.NewInt(1), 1<<24), "set": wire.Set{Items: many}, "dict": wire.Dict{{Key: long, Value: long}},
	}
	for name, v := range values {
		if s := textOf(v); len(s) > maxText+30 || s == "" {
			t.Errorf("%s: a text of %d bytes", name, len(s))
		}
		if s, ok := shown(v).(string); !ok || len(s) > maxText+30 {
			t.Errorf("%s is shown as a text of %d bytes", name, len(s))
		}
		if err := transactionError(v, v); len(err.Error()) > maxText+100 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	for v, want := range map[any]string{nil: "<nil>", "a": "a", int64(-5): "-5", true: "true"} {
		if got := textOf(v); got != want {
			t.Errorf("%v is %q, not %q", v, got, want)
		}
	}
	if got := textOf(wire.Tuple{[]byte("a\x00"), wire.Dict{{Key: "k", Value: big.NewInt(7)}}}); got != `("a\x00", {k: 7})` {
		t.Errorf("got %s", got)
	}
	if got := clipped(strings.Repeat("é", maxText)); len(got) > maxText+30 || !strings.HasSuffix(got, "… (4000 bytes)") {
		t.Errorf("clipped to %d bytes, ends %q", len(got), got[len(got)-30:])
	}
}

// TestIntegersAreRefusedByLength: an integer of 16 MB in each place where one is sent.
func TestIntegersAreRefusedByLength(t *testing.T) {
	t.Parallel()
	ts, _, log := limited(t, Limits{})
	digits := bytes.Repeat([]byte{0x55}, 16<<20)
	long := append([]byte{0x8b, 0, 0, 0, 1}, digits...)
	head := func(name string) []byte {
		return append([]byte("\x80\x03(K\x01\x89X"+string([]byte{byte(len(name)), 0, 0, 0})), name+"("...)
	}
	n := 0
	for name, frame := range map[string][]byte{
		"the handle of a vote":       append(append(head("vote"), long...), "tt."...),
		"the handle of a begin":      append(append(head("tpc_begin"), long...), "C\x01uC\x01d}Ntt."...),
		"a value in an extension":    append(append(append(head("tpc_begin"), "K\x07C\x01uC\x01d}X\x01\x00\x00\x00a"...), long...), "sNtt."...),
		"the id":                     append(append([]byte("\x80\x03("), long...), "\x89X\x04\x00\x00\x00ping)t."...),
		"the number of transactions": append(append(append(head("undoLog"), "K\x00"...), long...), "tt."...),
	} {
		c := ts.client(wire.Pickle)
		c.send(frame)
		c.closed()
		n++
		eventually(t, name+" is in the log", func() bool { return log.count("integer of more bytes") == n })
	}
	if n := log.len(); n > 20_000 {
		t.Errorf("%d bytes of log", n)
	}
	ts.servesOthers()
}

// TestLongNamesAreNotSentBack: a handle, an id, a name of a method and other things that are
// shown in errors, of 1 MB each.
func TestLongNamesAreNotSentBack(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts, _, log := limited(t, Limits{})
		long := bytes.Repeat([]byte("x"), 1<<20)
		for name, args := range map[string]wire.Tuple{
			"vote": {long}, "tpc_finish": {string(long)}, "tpc_abort": {long}, "tpc_begin": {long, nil, nil, nil},
			"storea": {long, nil, nil, long}, "set_client_label": {long}, "enter_snapshot": {string(long)},
			"loadBefore": {long, nil}, "undoInfo": {int64(0), int64(-1), wire.Dict{{Key: "user_name", Value: long}}},
			"storeBlobShared": {nil, nil, nil, string(long), nil}, "iterator_gc": {long}, "undoa": {long, long},
			"no method": {}, string(long): {},
		} {
			c := ts.client(e)
			b, err := wire.AppendRequest(nil, e, int64(7), false, name, args...)
			if err != nil {
				t.Fatal(err)
			}
			c.send(b)
			answer, err := c.read()
			if err == nil && len(answer) > 2*maxText {
				t.Errorf("%.20s: an answer of %d bytes", name, len(answer))
			}
			c.conn.Close()
		}
		c := ts.client(e)
		b, err := wire.AppendRequest(nil, e, long, false, "ping")
		if err != nil {
			t.Fatal(err)
		}
		c.send(b)
		c.closed()
		u := ts.dial(e)
		u.request("register", string(long[:helloBytes-100]), false)
		if answer := u.next(); len(answer) > 2*maxText {
			t.Errorf("register: an answer of %d bytes", len(answer))
		}
		eventually(t, "all have ended", func() bool { return ts.Connections() <= 1 })
		if n := log.len(); n > 40_000 {
			t.Errorf("%d bytes of log", n)
		}
		ts.servesOthers()
	})
}

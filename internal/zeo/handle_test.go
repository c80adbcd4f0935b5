package zeo

import (
	"bytes"
	"math/big"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
)

// TestHandleOfBytesOutlivesItsMessage: the name of a transaction is sent back as it was given,
// although the client has since sent other messages into the same buffer.
func TestHandleOfBytesOutlivesItsMessage(t *testing.T) {
	t.Parallel()
	encodings(t, func(t *testing.T, e wire.Encoding) {
		ts := serve(t, Options{})
		c := ts.client(e)
		handle := bytes.Repeat([]byte("A"), 200)
		c.begin(handle)
		c.call("ping")
		for range 3 {
			c.fails(classType, "getTid", bytes.Repeat([]byte("B"), 400))
		}
		details := elements(c.fails(classTransaction, "vote", other))
		if got, ok := details[0].([]byte); !ok || !bytes.Equal(got, handle) {
			t.Errorf("the transaction is called %q", details[0])
		}
		c.want(wire.List{}, c.call("vote", handle))
		c.call("tpc_abort", handle)
	})
}

// TestLongHandlesAreRefused: of each kind, the longest that may be is taken, and one byte more is not.
func TestLongHandlesAreRefused(t *testing.T) {
	t.Parallel()
	ts := serve(t, Options{})
	c := ts.client(wire.Pickle)
	for _, n := range []int{maxHandle, maxHandle + 1} {
		integer := new(big.Int).Lsh(big.NewInt(1), uint(8*n-1))
		for _, handle := range []any{strings.Repeat("x", n), bytes.Repeat([]byte("x"), n), integer} {
			class := classTransaction // there is none of that name
			if n > maxHandle {
				class = classType
			}
			c.fails(class, "vote", handle)
		}
	}
}

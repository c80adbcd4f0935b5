package zeo

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// A value from a client can be as long as a message. It comes into the text of an error,
// into the log or back to the client through the functions of this file only.

// maxText is the length in bytes of the longest text of an error.
const maxText = 2000

// maxShown is the length in bytes up to which a value of a client is shown, and the number
// of values up to which one that holds others is.
const (
	maxShown = 100
	maxItems = 8
)

// clipped returns a text, or the beginning of a long one, as UTF-8.
func clipped(s string) string {
	if len(s) <= maxText {
		return valid(s)
	}
	return strings.ToValidUTF8(s[:maxText], "") + fmt.Sprintf("… (%d bytes)", len(s))
}

// valid returns a text as one that can be sent in each encoding. Names of files may be no UTF-8,
// and text in a pickle may have surrogates.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// sendable returns the details of an error with texts that can be sent.
func sendable(v any) any {
	switch v := v.(type) {
	case string:
		return valid(v)
	case wire.Tuple:
		list := make(wire.Tuple, len(v))
		for i := range v {
			list[i] = sendable(v[i])
		}
		return list
	case wire.List:
		return wire.List(sendable(wire.Tuple(v)).(wire.Tuple))
	case wire.Dict:
		dict := make(wire.Dict, len(v))
		for i := range v {
			dict[i] = wire.Pair{Key: v[i].Key, Value: sendable(v[i].Value)}
		}
		return dict
	}
	return v
}

// textOf returns any value as text of bounded length.
func textOf(v any) string { return clipped(string(text(nil, v, 0))) }

func text(dst []byte, v any, depth int) []byte {
	switch v := v.(type) {
	case nil, bool, int, int64, float64, zodb.OID, zodb.TID:
		return fmt.Append(dst, v)
	case string:
		return append(dst, clipped(v)...)
	case []byte:
		if len(v) > maxShown {
			return fmt.Appendf(dst, "%q… (%d bytes)", v[:maxShown], len(v))
		}
		return fmt.Appendf(dst, "%q", v)
	case *big.Int:
		if v.BitLen() <= 8*maxShown {
			return v.Append(dst, 10)
		}
		return fmt.Appendf(dst, "an integer of %d bytes", v.BitLen()/8)
	case wire.Tuple:
		return items(dst, "()", len(v), depth, func(b []byte, i int) []byte { return text(b, v[i], depth+1) })
	case wire.List:
		return items(dst, "[]", len(v), depth, func(b []byte, i int) []byte { return text(b, v[i], depth+1) })
	case wire.Dict:
		return items(dst, "{}", len(v), depth, func(b []byte, i int) []byte {
			b = append(text(b, v[i].Key, depth+1), ": "...)
			return text(b, v[i].Value, depth+1)
		})
	}
	return fmt.Appendf(dst, "a %T", v)
}

// maxShownDepth is how deep values that hold others are shown.
const maxShownDepth = 3

func items(dst []byte, brackets string, n, depth int, item func([]byte, int) []byte) []byte {
	dst = append(dst, brackets[0])
	for i := range n {
		if i == maxItems || depth == maxShownDepth {
			dst = fmt.Appendf(dst, "… (%d values)", n)
			break
		}
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = item(dst, i)
	}
	return append(dst, brackets[1])
}

// shown returns a value of a client as it is sent back to it: itself if it is short, else
// a text in its place.
func shown(v any) any {
	switch v := v.(type) {
	case nil, bool, int64, float64:
		return v
	case []byte:
		if len(v) <= maxShown {
			return v
		}
	case string:
		if len(v) <= maxShown {
			return v
		}
	}
	return textOf(v)
}

package zeo

import (
	"bytes"
	"fmt"
	"math"
	"math/big"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// arguments takes the arguments of a call apart. A missing one is None. The
// first that does not fit is kept in err; the results are zero then.
type arguments struct {
	list []any
	err  error
}

func (a *arguments) get(i int) any {
	if i >= len(a.list) {
		return nil
	}
	return a.list[i]
}

func (a *arguments) wrong(i int, want string) {
	if a.err == nil {
		a.err = fmt.Errorf("argument %d is not %s", i+1, want)
	}
}

func (a *arguments) id(i int, what string) uint64 {
	b, ok := a.get(i).([]byte)
	if !ok || len(b) != 8 {
		a.wrong(i, what)
		return 0
	}
	return uint64(zodb.OIDFromBytes(b))
}

func (a *arguments) oid(i int) zodb.OID { return zodb.OID(a.id(i, "an oid of 8 bytes")) }
func (a *arguments) tid(i int) zodb.TID { return zodb.TID(a.id(i, "a tid of 8 bytes")) }

// tidOr0 also takes None, text or bytes that are empty, and text of 8 characters
// below 256: some clients write the serial of a new object so.
func (a *arguments) tidOr0(i int) zodb.TID {
	switch v := a.get(i).(type) {
	case nil:
		return 0
	case []byte:
		if len(v) == 0 {
			return 0
		}
	case string:
		if v == "" {
			return 0
		}
		if b, ok := latin1(v); ok && len(b) == 8 {
			return zodb.TIDFromBytes(b)
		}
	}
	return a.tid(i)
}

// latin1 returns the characters of a text as bytes.
func latin1(s string) (b []byte, ok bool) {
	for _, r := range s {
		if r > 0xff {
			return nil, false
		}
		b = append(b, byte(r))
	}
	return b, true
}

func (a *arguments) bytes(i int) []byte {
	b, ok := a.get(i).([]byte)
	if !ok {
		a.wrong(i, "bytes")
	}
	return b
}

// meta takes bytes or text.
func (a *arguments) meta(i int) []byte {
	switch v := a.get(i).(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	case nil:
		return nil
	}
	a.wrong(i, "bytes or text")
	return nil
}

func (a *arguments) text(i int) string {
	s, ok := a.get(i).(string)
	if !ok {
		a.wrong(i, "text")
	}
	return s
}

// truth takes None, booleans and integers.
func (a *arguments) truth(i int) bool {
	switch v := a.get(i).(type) {
	case nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	}
	a.wrong(i, "a boolean")
	return false
}

func (a *arguments) integer(i, missing int) int {
	switch v := a.get(i).(type) {
	case nil:
		if i >= len(a.list) {
			return missing
		}
	case bool:
		if v {
			return 1
		}
		return 0
	case int64:
		return int(max(math.MinInt32, min(math.MaxInt32, v)))
	}
	a.wrong(i, "an integer")
	return 0
}

// float takes integers too.
func (a *arguments) float(i int) float64 {
	switch v := a.get(i).(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	a.wrong(i, "a number")
	return 0
}

// handle is a client's name for a transaction, made comparable. Its meaning does not
// matter.
type handle any

// maxHandle is the length in bytes of the longest name of a transaction. Clients of
// Python send a number.
const maxHandle = 256

// handle returns the name of a transaction. It is sent back in errors, so a long one
// is refused.
func (a *arguments) handle(i int) handle {
	switch v := a.get(i).(type) {
	case bool, int64, float64:
		return v
	case string:
		if len(v) <= maxHandle {
			return v
		}
	case []byte:
		if len(v) <= maxHandle {
			return "b" + string(v)
		}
	case *big.Int:
		if v.BitLen() <= 8*maxHandle {
			return "i" + v.String()
		}
	}
	a.wrong(i, fmt.Sprintf("a transaction: a number or up to %d bytes", maxHandle))
	return nil
}

// public returns a name of a transaction as it is sent back, which nobody changes.
func (a *arguments) public(i int) any {
	if b, ok := a.get(i).([]byte); ok {
		return bytes.Clone(b) // of the frame
	}
	return a.get(i)
}

func (a *arguments) dict(i int) wire.Dict {
	switch v := a.get(i).(type) {
	case wire.Dict:
		return v
	case nil:
		return nil
	}
	a.wrong(i, "a dictionary")
	return nil
}

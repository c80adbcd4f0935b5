package transfer

import (
	"bytes"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// sameExtension reports whether two pickles are extensions that hold the same. The bytes may
// differ, because a copy over a server is pickled anew from the values received; and there, msgpack
// does not distinguish lists from tuples.
func sameExtension(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, errX := plain(a)
	y, errY := plain(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// plain pickles an extension in the one way in which this is done here, with tuples for lists.
func plain(extension []byte) ([]byte, error) {
	d, _ := tuples(wire.UnpickleDict(extension)).(wire.Dict)
	return wire.PickleDict(d, zodb.MaxMetaLen)
}

// tuples makes tuples of all lists within a value.
func tuples(v any) any {
	switch v := v.(type) {
	case wire.List:
		return tuples(wire.Tuple(v))
	case wire.Tuple:
		out := make(wire.Tuple, len(v))
		for i, x := range v {
			out[i] = tuples(x)
		}
		return out
	case wire.Dict:
		out := make(wire.Dict, len(v))
		for i, p := range v {
			out[i] = wire.Pair{Key: p.Key, Value: tuples(p.Value)}
		}
		return out
	}
	return v
}

package wire

import "math/big"

// Values are the possible contents of a message, as Go types:
//
//	nil        None
//	bool       True, False
//	int64      an integer of 64 bits
//	*big.Int   a larger integer (in msgpack up to 2^64-1)
//	float64    a float
//	string     text, UTF-8; in pickles it may hold encoded surrogates
//	[]byte     bytes, and bytearray
//	Tuple      a tuple; every array of msgpack
//	List       a list
//	Dict       a dictionary, in the order sent
//	Set        a set or frozenset (pickle only)
//	Complex    a complex number (pickle only)
//	Prefix     a path prefix in a filter of the undo log (pickle only)
//
// The encoders also take int, uint64 up to 63 bits, zodb.OID and zodb.TID (as 8
// bytes), and []zodb.OID (as a list). They refuse Set, Complex and Prefix,
// which no client accepts; only PickleDict writes the first two.

// Tuple is a Python tuple.
type Tuple []any

// List is a Python list.
type List []any

// Dict is a Python dictionary. Keys are text, except where a client sent others.
// A decoded Dict has no two equal keys of text, bytes or numbers.
type Dict []Pair

// Pair is an entry of a Dict.
type Pair struct{ Key, Value any }

// Set is a Python set or frozenset.
type Set struct {
	Items  []any
	Frozen bool
}

// complexNumber is a Python complex number.
type complexNumber complex128

// Prefix is ZopeUndo's path prefix.
type Prefix struct {
	Length int64
	Path   []string
}

// Get returns the value of a text key, nil if it is not there.
func (d Dict) Get(key string) any {
	for _, p := range d {
		if k, ok := p.Key.(string); ok && k == key {
			return p.Value
		}
	}
	return nil
}

// Expressible returns d without the entries that cannot be written in a message
// of this encoding. It returns d itself if that is all of it.
func (d Dict) Expressible(e Encoding) Dict {
	var out Dict
	for i, p := range d {
		_, err := appendValue(nil, e, Dict{p}, 1)
		switch {
		case err != nil && out == nil:
			out = append(make(Dict, 0, len(d)-1), d[:i]...)
		case err == nil && out != nil:
			out = append(out, p)
		}
	}
	if out == nil {
		return d
	}
	return out
}

// The empty containers, made once.
var (
	emptyTuple any = Tuple{}
	emptyList  any = List{}
	emptyDict  any = Dict{}
)

// truth is Python's bool(v).
func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case *big.Int:
		return v.Sign() != 0
	case float64:
		return v != 0
	case complexNumber:
		return v != 0
	case string:
		return v != ""
	case []byte:
		return len(v) > 0
	case Tuple:
		return len(v) > 0
	case List:
		return len(v) > 0
	case Dict:
		return len(v) > 0
	case Set:
		return len(v.Items) > 0
	}
	return true
}

// hashable reports whether v may be a key or an element of a set.
func hashable(v any) bool {
	switch v := v.(type) {
	case List, Dict, Prefix:
		return false
	case Set:
		return v.Frozen
	case Tuple:
		for _, item := range v {
			if !hashable(item) {
				return false
			}
		}
	}
	return true
}

// fewKeys is the number of keys up to which comparing each with each is faster than a map.
const fewKeys = 12

// bytesKey is a key of bytes in a map, where it differs from the same text.
type bytesKey string

// unique removes, in place, the entries whose key comes again later; the place of the first and the
// value of the last one stay, as in Python. Keys that are tuples or sets are not compared.
func unique(d Dict) Dict {
	if len(d) < 2 || len(d) <= fewKeys && !hasTwice(d) {
		return d
	}
	at := make(map[any]int, len(d))
	out := d[:0]
	for _, p := range d {
		k, ok := comparableKey(p.Key)
		if !ok {
			out = append(out, p)
			continue
		}
		if i, ok := at[k]; ok {
			out[i].Value = p.Value
			continue
		}
		at[k] = len(out)
		out = append(out, p)
	}
	clear(d[len(out):])
	return out
}

// hasTwice reports whether a short dict may have a key twice.
func hasTwice(d Dict) bool {
	for i, p := range d {
		k, ok := p.Key.(string)
		if !ok {
			return true // let the map find out
		}
		for _, q := range d[:i] {
			if q.Key == k {
				return true
			}
		}
	}
	return false
}

// comparableKey returns a key as Go can compare it.
func comparableKey(k any) (any, bool) {
	switch k := k.(type) {
	case nil, bool, int64, float64, string, complexNumber:
		return k, true
	case []byte:
		return bytesKey(k), true
	}
	return nil, false
}

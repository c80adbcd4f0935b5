package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/tinylib/msgp/msgp"

	"github.com/dirstorage/dirstorage/zodb"
)

var (
	errMsgpackDeep  = errors.New("msgpack: too deep")
	errMsgpackMany  = errors.New("msgpack: too many values")
	errMsgpackText  = errors.New("msgpack: text that is not UTF-8")
	errMsgpackKey   = errors.New("msgpack: a key that is not text or bytes")
	errMsgpackExtra = errors.New("msgpack: bytes after the message")
)

// unpacker reads msgpack.
type unpacker struct {
	b      []byte // the rest
	values int    // how many more there may be
	memory int    // how many more bytes they may take
}

func decodeMsgpack(frame []byte, memory int) (Message, error) {
	u := unpacker{b: frame, values: valueLimit(len(frame)), memory: memory}
	n, rest, err := msgp.ReadArrayHeaderBytes(frame)
	if err != nil {
		return Message{}, err
	}
	if n != 4 {
		return Message{}, errFields
	}
	u.b = rest
	var m Message
	var fields [4]any
	for i := range fields {
		if fields[i], err = u.value(2); err != nil {
			return Message{}, err
		}
		if i == 0 {
			n := len(rest) - len(u.b)
			m.RawID = rest[:n:n]
		}
	}
	if len(u.b) > 0 {
		return Message{}, errMsgpackExtra
	}
	return m, m.setFields(fields[:])
}

// value reads one value, which lies at this depth.
func (u *unpacker) value(depth int) (v any, err error) {
	if depth > maxDepth {
		return nil, errMsgpackDeep
	}
	switch msgp.NextType(u.b) {
	case msgp.NilType:
		u.b, err = msgp.ReadNilBytes(u.b)
		return nil, err
	case msgp.BoolType:
		var x bool
		x, u.b, err = msgp.ReadBoolBytes(u.b)
		return x, err
	case msgp.IntType:
		var x int64
		x, u.b, err = msgp.ReadInt64Bytes(u.b)
		return x, err
	case msgp.UintType:
		var x uint64
		x, u.b, err = msgp.ReadUint64Bytes(u.b)
		if x > math.MaxInt64 {
			return new(big.Int).SetUint64(x), err
		}
		return int64(x), err
	case msgp.Float32Type:
		var x float32
		x, u.b, err = msgp.ReadFloat32Bytes(u.b)
		return float64(x), err
	case msgp.Float64Type:
		var x float64
		x, u.b, err = msgp.ReadFloat64Bytes(u.b)
		return x, err
	case msgp.StrType:
		return u.text()
	case msgp.BinType:
		if cut(u.b) {
			return nil, msgp.ErrShortBytes
		}
		var x []byte
		x, u.b, err = msgp.ReadBytesZC(u.b)
		return slices.Clip(x), err
	case msgp.ArrayType:
		return u.array(depth)
	case msgp.MapType:
		return u.dict(depth)
	}
	if len(u.b) == 0 {
		return nil, msgp.ErrShortBytes
	}
	return nil, fmt.Errorf("msgpack: type %#02x", u.b[0])
}

// cut reports whether bytes or a text with a length of 32 bits end before that length;
// where an int has 32 bits, msgp takes it for a negative one.
func cut(b []byte) bool {
	const bin32, str32, head = 0xc6, 0xdb, 5
	return len(b) >= head && (b[0] == bin32 || b[0] == str32) && uint64(binary.BigEndian.Uint32(b[1:])) > uint64(len(b)-head)
}

func (u *unpacker) text() (any, error) {
	if cut(u.b) {
		return nil, msgp.ErrShortBytes
	}
	x, rest, err := msgp.ReadStringZC(u.b)
	if err != nil {
		return nil, err
	}
	u.b = rest
	if !validText(x, false) {
		return nil, errMsgpackText
	}
	if u.memory -= len(x); u.memory < 0 {
		return nil, ErrMemory
	}
	return boxText(x), nil
}

// charge counts n values, each of which has to take at least a byte. Counting
// them before they are read keeps arrays in arrays from asking for memory again and again.
func (u *unpacker) charge(n int64) error {
	if n > int64(len(u.b)) {
		return msgp.ErrShortBytes
	}
	if n > int64(u.values) {
		return errMsgpackMany
	}
	u.values -= int(n)
	if u.memory -= nodeMemory + valueMemory*int(n); u.memory < 0 {
		return ErrMemory
	}
	return nil
}

func (u *unpacker) array(depth int) (any, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(u.b)
	if err != nil {
		return nil, err
	}
	u.b = rest
	if n == 0 {
		return emptyTuple, nil
	}
	if err := u.charge(int64(n)); err != nil {
		return nil, err
	}
	t := make(Tuple, n)
	for i := range t {
		if t[i], err = u.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (u *unpacker) dict(depth int) (any, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(u.b)
	if err != nil {
		return nil, err
	}
	u.b = rest
	if n == 0 {
		return emptyDict, nil
	}
	if err := u.charge(2 * int64(n)); err != nil {
		return nil, err
	}
	d := make(Dict, n)
	for i := range d {
		switch msgp.NextType(u.b) {
		case msgp.StrType, msgp.BinType:
		default:
			return nil, errMsgpackKey
		}
		if d[i].Key, err = u.value(depth + 1); err != nil {
			return nil, err
		}
		if d[i].Value, err = u.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return unique(d), nil
}

// appendMsgpack appends v, which lies at this depth.
func appendMsgpack(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxEncodedDepth {
		return nil, errDeepValue
	}
	switch v := v.(type) {
	case nil:
		return msgp.AppendNil(b), nil
	case bool:
		return msgp.AppendBool(b, v), nil
	case int:
		return appendMsgpackInt(b, int64(v)), nil
	case int64:
		return appendMsgpackInt(b, v), nil
	case uint64:
		if v > math.MaxInt64 {
			return nil, inexpressible(v)
		}
		return msgp.AppendUint64(b, v), nil
	case *big.Int:
		if v == nil || !v.IsInt64() && !v.IsUint64() {
			return nil, inexpressible(v)
		}
		if v.IsInt64() {
			return appendMsgpackInt(b, v.Int64()), nil
		}
		return msgp.AppendUint64(b, v.Uint64()), nil
	case float64:
		return msgp.AppendFloat64(b, v), nil
	case string:
		if uint64(len(v)) > math.MaxUint32 {
			return nil, errLongValue
		}
		if !validString(v, false) {
			return nil, errTextValue
		}
		return msgp.AppendString(b, v), nil
	case []byte:
		if uint64(len(v)) > math.MaxUint32 {
			return nil, errLongValue
		}
		return append(msgp.AppendBytesHeader(b, uint32(len(v))), v...), nil
	case zodb.OID:
		return appendMsgpackID64(b, uint64(v)), nil
	case zodb.TID:
		return appendMsgpackID64(b, uint64(v)), nil
	case Tuple:
		return appendMsgpackArray(b, v, depth)
	case List:
		return appendMsgpackArray(b, v, depth)
	case []zodb.OID:
		b = msgp.AppendArrayHeader(slices.Grow(b, 5+10*len(v)), uint32(len(v)))
		for _, oid := range v {
			b = appendMsgpackID64(b, uint64(oid))
		}
		return b, nil
	case Dict:
		return appendMsgpackMap(b, v, depth)
	}
	return nil, inexpressible(v)
}

// appendMsgpackInt appends an integer in the fewest bytes; positive ones as unsigned, as Python does.
func appendMsgpackInt(b []byte, v int64) []byte {
	if v >= 0 {
		return msgp.AppendUint64(b, uint64(v))
	}
	return msgp.AppendInt64(b, v)
}

// appendMsgpackID64 appends an oid or tid.
func appendMsgpackID64(b []byte, v uint64) []byte {
	return zodb.OID(v).Append(msgp.AppendBytesHeader(b, 8))
}

func appendMsgpackArray(b []byte, items []any, depth int) ([]byte, error) {
	if uint64(len(items)) > math.MaxUint32 {
		return nil, errLongValue
	}
	b = msgp.AppendArrayHeader(b, uint32(len(items)))
	var err error
	for _, item := range items {
		if b, err = appendMsgpack(b, item, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendMsgpackMap(b []byte, d Dict, depth int) ([]byte, error) {
	if uint64(len(d)) > math.MaxUint32 {
		return nil, errLongValue
	}
	b = msgp.AppendMapHeader(b, uint32(len(d)))
	var err error
	for _, p := range d {
		switch p.Key.(type) {
		case string, []byte, zodb.OID, zodb.TID:
		default:
			return nil, errKeyValue
		}
		if b, err = appendMsgpack(b, p.Key, depth+1); err != nil {
			return nil, err
		}
		if b, err = appendMsgpack(b, p.Value, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendLoadedMsgpack(b, rawID, data []byte, start, end zodb.TID) []byte {
	const fixed = len(msgpackHead) + 1 + len(msgpackResult) + 1 + 5 + 10 + 10
	b = slices.Grow(b, fixed+len(rawID)+len(data))
	b = append(b, msgpackHead...)
	b = appendMsgpackID(b, rawID)
	b = append(b, msgpackResult...)
	b = msgp.AppendArrayHeader(b, 3)
	b = append(msgp.AppendBytesHeader(b, uint32(len(data))), data...)
	b = appendMsgpackID64(b, uint64(start))
	if end == 0 {
		return msgp.AppendNil(b)
	}
	return appendMsgpackID64(b, uint64(end))
}

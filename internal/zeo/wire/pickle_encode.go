package wire

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// maxRun is the number of items or pairs that one APPENDS or SETITEMS adds; Python's is the same.
const maxRun = 1000

// pickler writes the opcodes of protocol 3 that clients understand:
//
//	N, 88, 89          None, True, False
//	K M J 8a 8b        integers of 8, 16 bits, of 32 bits with a sign, longer ones
//	G                  float, 8 bytes big-endian
//	X                  text: 4 bytes of length little-endian, UTF-8
//	C B                bytes: 1 or 4 bytes of length
//	) 85 86 87 ( t     tuples of 0, 1, 2, 3, more
//	] a ( e            list, one item, up to 1000 items
//	} s ( u            dict, one pair, up to 1000 pairs
//
// Nothing else, in particular no memo.
type pickler struct {
	// classes allows builtins.set, frozenset and complex, which no client accepts.
	classes bool
}

// append appends v, which lies at this depth.
func (p pickler) append(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxEncodedDepth {
		return nil, errDeepValue
	}
	switch v := v.(type) {
	case nil:
		return append(b, opNONE), nil
	case bool:
		if v {
			return append(b, opNEWTRUE), nil
		}
		return append(b, opNEWFALSE), nil
	case int:
		return appendPickleInt(b, int64(v)), nil
	case int64:
		return appendPickleInt(b, v), nil
	case uint64:
		if v > math.MaxInt64 {
			return nil, inexpressible(v)
		}
		return appendPickleInt(b, int64(v)), nil
	case *big.Int:
		return appendPickleBig(b, v)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, opBINFLOAT), math.Float64bits(v)), nil
	case string:
		return appendPickleText(b, v)
	case []byte:
		return appendPickleBytes(b, v)
	case zodb.OID:
		return appendPickleID64(b, uint64(v)), nil
	case zodb.TID:
		return appendPickleID64(b, uint64(v)), nil
	case Tuple:
		return p.appendTuple(b, v, depth)
	case List:
		return p.appendList(b, v, depth)
	case []zodb.OID:
		return appendPickleOIDs(b, v), nil
	case Dict:
		return p.appendDict(b, v, depth)
	case Set:
		if p.classes {
			return p.appendSet(b, v, depth)
		}
	case complexNumber:
		if p.classes {
			return p.appendComplex(b, v)
		}
	}
	return nil, inexpressible(v)
}

func appendPickleInt(b []byte, v int64) []byte {
	switch {
	case v >= 0 && v <= math.MaxUint8:
		return append(b, opBININT1, byte(v))
	case v >= 0 && v <= math.MaxUint16:
		return append(b, opBININT2, byte(v), byte(v>>8))
	case v >= math.MinInt32 && v <= math.MaxInt32:
		return binary.LittleEndian.AppendUint32(append(b, opBININT), uint32(v))
	}
	// Two's complement in as few bytes as hold the sign.
	n := 5
	for n < 8 && v>>(8*n-1) != 0 && v>>(8*n-1) != -1 {
		n++
	}
	b = append(b, opLONG1, byte(n))
	for i := range n {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

func appendPickleBig(b []byte, v *big.Int) ([]byte, error) {
	if v == nil {
		return nil, inexpressible(v)
	}
	if v.IsInt64() {
		return appendPickleInt(b, v.Int64()), nil
	}
	digits := twosComplement(v)
	switch n := len(digits); {
	case n <= math.MaxUint8:
		b = append(b, opLONG1, byte(n))
	case n <= math.MaxInt32:
		b = binary.LittleEndian.AppendUint32(append(b, opLONG4), uint32(n))
	default:
		return nil, errLongValue
	}
	return append(b, digits...), nil
}

// twosComplement returns v, which is not 0, little-endian in as few bytes as hold the sign.
func twosComplement(v *big.Int) []byte {
	// A negative v is the complement of -v-1, which has the same length.
	magnitude := v
	if v.Sign() < 0 {
		magnitude = new(big.Int).Not(v)
	}
	digits := magnitude.FillBytes(make([]byte, magnitude.BitLen()/8+1))
	slices.Reverse(digits)
	if v.Sign() < 0 {
		for i := range digits {
			digits[i] = ^digits[i]
		}
	}
	return digits
}

func appendPickleText(b []byte, v string) ([]byte, error) {
	if uint64(len(v)) > math.MaxUint32 {
		return nil, errLongValue
	}
	if !validString(v, true) {
		return nil, errTextValue
	}
	b = binary.LittleEndian.AppendUint32(append(b, opBINUNICODE), uint32(len(v)))
	return append(b, v...), nil
}

func appendPickleBytes(b []byte, v []byte) ([]byte, error) {
	if uint64(len(v)) > math.MaxUint32 {
		return nil, errLongValue
	}
	return append(appendPickleBytesHead(b, len(v)), v...), nil
}

func appendPickleBytesHead(b []byte, n int) []byte {
	if n <= math.MaxUint8 {
		return append(b, opSHORT_BINBYTES, byte(n))
	}
	return binary.LittleEndian.AppendUint32(append(b, opBINBYTES), uint32(n))
}

// appendPickleID64 appends an oid or tid.
func appendPickleID64(b []byte, v uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, opSHORT_BINBYTES, 8), v)
}

func (p pickler) appendItems(b []byte, items []any, depth int) ([]byte, error) {
	var err error
	for _, item := range items {
		if b, err = p.append(b, item, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (p pickler) appendTuple(b []byte, v Tuple, depth int) ([]byte, error) {
	if len(v) == 0 {
		return append(b, opEMPTY_TUPLE), nil
	}
	op := byte(opTUPLE)
	if len(v) <= 3 {
		op = opTUPLE1 + byte(len(v)) - 1
	} else {
		b = append(b, opMARK)
	}
	b, err := p.appendItems(b, v, depth)
	if err != nil {
		return nil, err
	}
	return append(b, op), nil
}

func (p pickler) appendList(b []byte, v List, depth int) ([]byte, error) {
	b = append(b, opEMPTY_LIST)
	if len(v) == 1 {
		b, err := p.append(b, v[0], depth+1)
		if err != nil {
			return nil, err
		}
		return append(b, opAPPEND), nil
	}
	var err error
	for run := range slices.Chunk(v, maxRun) {
		if b, err = p.appendItems(append(b, opMARK), run, depth); err != nil {
			return nil, err
		}
		b = append(b, opAPPENDS)
	}
	return b, nil
}

func appendPickleOIDs(b []byte, v []zodb.OID) []byte {
	b = slices.Grow(b, 3+10*len(v))
	b = append(b, opEMPTY_LIST)
	if len(v) == 1 {
		return append(appendPickleID64(b, uint64(v[0])), opAPPEND)
	}
	for run := range slices.Chunk(v, maxRun) {
		b = append(b, opMARK)
		for _, oid := range run {
			b = appendPickleID64(b, uint64(oid))
		}
		b = append(b, opAPPENDS)
	}
	return b
}

func (p pickler) appendPair(b []byte, pair Pair, depth int) ([]byte, error) {
	if !hashable(pair.Key) {
		return nil, inexpressible(pair.Key)
	}
	b, err := p.append(b, pair.Key, depth+1)
	if err != nil {
		return nil, err
	}
	return p.append(b, pair.Value, depth+1)
}

func (p pickler) appendDict(b []byte, v Dict, depth int) ([]byte, error) {
	b = append(b, opEMPTY_DICT)
	if len(v) == 1 {
		b, err := p.appendPair(b, v[0], depth)
		if err != nil {
			return nil, err
		}
		return append(b, opSETITEM), nil
	}
	var err error
	for run := range slices.Chunk(v, maxRun) {
		b = append(b, opMARK)
		for _, pair := range run {
			if b, err = p.appendPair(b, pair, depth); err != nil {
				return nil, err
			}
		}
		b = append(b, opSETITEMS)
	}
	return b, nil
}

// appendSet appends builtins.set([item, …]), or frozenset.
func (p pickler) appendSet(b []byte, v Set, depth int) ([]byte, error) {
	name := "cbuiltins\nset\n"
	if v.Frozen {
		name = "cbuiltins\nfrozenset\n"
	}
	for _, item := range v.Items {
		if !hashable(item) {
			return nil, inexpressible(item)
		}
	}
	b, err := p.appendList(append(b, name...), v.Items, depth)
	if err != nil {
		return nil, err
	}
	return append(b, opTUPLE1, opREDUCE), nil
}

// appendComplex appends builtins.complex(real, imaginary).
func (p pickler) appendComplex(b []byte, v complexNumber) ([]byte, error) {
	b = append(b, "cbuiltins\ncomplex\n"...)
	b, err := p.appendItems(b, []any{real(v), imag(v)}, 0)
	if err != nil {
		return nil, err
	}
	return append(b, opTUPLE2, opREDUCE), nil
}

func appendLoadedPickle(b, rawID, data []byte, start, end zodb.TID) []byte {
	const fixed = len(pickleHead) + 2 + len(pickleResult) + 5 + 10 + 10 + 1 + len(pickleTail)
	b = slices.Grow(b, fixed+len(rawID)+len(data))
	b = append(b, pickleHead...)
	b = appendPickleID(b, rawID)
	b = append(b, pickleResult...)
	b = append(appendPickleBytesHead(b, len(data)), data...)
	b = appendPickleID64(b, uint64(start))
	if end == 0 {
		b = append(b, opNONE)
	} else {
		b = appendPickleID64(b, uint64(end))
	}
	b = append(b, opTUPLE3)
	return append(b, pickleTail...)
}

package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Fields of a header of ustar, and their lengths.
const (
	tarName, tarNameLen     = 0, 100
	tarMode, tarModeLen     = 100, 8
	tarUID, tarGID          = 108, 116
	tarSize, tarSizeLen     = 124, 12
	tarTime, tarTimeLen     = 136, 12
	tarChecksum, tarSumLen  = 148, 8
	tarType                 = 156
	tarMagic, tarMagicValue = 257, "ustar\x0000"
	tarMajor, tarMinor      = 329, 337

	memberMode = 0o640
	maxContent = 1<<32 - 1
	maxTime    = 1<<33 - 1 // in the 11 octal digits of ustar
)

// tarEnd is the decoded content of the last frame of the tar.
var tarEnd = make([]byte, 2*tarBlock)

func padded(n int) int { return (n + tarBlock - 1) &^ (tarBlock - 1) }

func putOctal(field []byte, v uint64) {
	field[len(field)-1] = 0
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = '0' + byte(v&7)
		v >>= 3
	}
}

// appendMember appends the header, the content and the padding of a member. Its time is that of
// its transaction, so that the same transactions make the same bytes.
func appendMember(b []byte, n layout.Name, content []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, tarBlock)...)
	h := b[at:]
	copy(h[tarName:], n.String())
	putOctal(h[tarMode:][:tarModeLen], memberMode)
	putOctal(h[tarUID:][:8], 0)
	putOctal(h[tarGID:][:8], 0)
	putOctal(h[tarSize:][:tarSizeLen], uint64(len(content)))
	putOctal(h[tarTime:][:tarTimeLen], uint64(min(max(0, n.TID.Time().Unix()), maxTime)))
	h[tarType] = '0'
	copy(h[tarMagic:], tarMagicValue)
	putOctal(h[tarMajor:][:8], 0)
	putOctal(h[tarMinor:][:8], 0)
	putOctal(h[tarChecksum:][:tarSumLen-1], tarSum(h))
	h[tarChecksum+tarSumLen-1] = ' '
	b = append(b, content...)
	return append(b, make([]byte, padded(len(content))-len(content))...)
}

// tarSum is the sum of a header's bytes, those of the sum itself counted as spaces.
func tarSum(h []byte) uint64 {
	// Eight bytes at a time, in four lanes of 16 bits for the even ones and four for the odd ones:
	// 64 words have at most 64 * 255 in a lane.
	const even = 0x00FF00FF00FF00FF
	h = h[:tarBlock:tarBlock]
	var evens, odds uint64
	for i := 0; i+8 <= len(h); i += 8 {
		x := binary.LittleEndian.Uint64(h[i:])
		evens += x & even
		odds += x >> 8 & even
	}
	sum := uint64(' ') * tarSumLen
	for shift := 0; shift < 64; shift += 16 {
		sum += evens>>shift&0xFFFF + odds>>shift&0xFFFF
	}
	for _, c := range h[tarChecksum:][:tarSumLen] {
		sum -= uint64(c)
	}
	return sum
}

// parseMember reads the member at the start of a decoded frame. rest are the bytes behind it.
func parseMember(b []byte) (n layout.Name, content, rest []byte, err error) {
	if len(b) < tarBlock {
		return n, nil, nil, fmt.Errorf("%d bytes are left where a member of the tar begins", len(b))
	}
	h := b[:tarBlock]
	sum, err := octal(h[tarChecksum:][:tarSumLen-2])
	if err != nil || sum != tarSum(h) {
		return n, nil, nil, errors.New("the header of a member of the tar has a wrong checksum")
	}
	name, _, _ := bytes.Cut(h[tarName:][:tarNameLen], []byte{0})
	n, ok := layout.ParseNameBytes(name)
	if !ok || n.Kind != layout.KindRevision && n.Kind != layout.KindTransaction {
		return n, nil, nil, fmt.Errorf("a member of the tar is called %q, which is not a revision or a transaction", name)
	}
	size, err := octal(h[tarSize:][:tarSizeLen-1])
	if left := int64(len(b) - tarBlock); err != nil || int64(size) > left || int64(padded(int(size))) > left {
		return n, nil, nil, fmt.Errorf("%s: the tar says that it has %q bytes, and %d are left", n, h[tarSize:][:tarSizeLen-1], len(b)-tarBlock)
	}
	return n, b[tarBlock:][:size:size], b[tarBlock+padded(int(size)):], nil
}

func octal(field []byte) (uint64, error) {
	v := uint64(0)
	for _, c := range field {
		if c < '0' || c > '7' {
			return 0, fmt.Errorf("%q is not an octal number", field)
		}
		v = v<<3 | uint64(c-'0')
	}
	return v, nil
}

// Name is the database name of an entry.
func (r *Revision) Name() layout.Name { return layout.Revision(r.OID, r.TID) }

// Name is the database name of an entry.
func (t *Transaction) Name() layout.Name { return layout.Transaction(t.TID) }

func (i *Info) contains(tid zodb.TID) bool { return i.Min <= tid && tid <= i.Max }

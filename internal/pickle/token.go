package pickle

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dirstorage/dirstorage/zodb"
)

// SyntaxError tells where and why a record is malformed. It matches
// [zodb.ErrCorrupt].
type SyntaxError struct {
	Offset int64 // in the (unwrapped) record, of the opcode that does not fit
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("pickle at offset %d: %s", e.Offset, e.Reason)
}

// Is matches zodb.ErrCorrupt.
func (e *SyntaxError) Is(target error) bool { return target == zodb.ErrCorrupt }

// span is a piece of the record: bytes off to off+n.
type span struct{ off, n uint32 }

// token is one opcode with its argument.
type token struct {
	op  byte
	arg span // the argument's bytes, without length field or newline
	two span // the second line of argTwoLines
	at  int  // offset of the opcode
}

// next reads the token at m.pos and moves behind it.
func (m *machine) next() (token, error) {
	t := token{at: m.pos}
	if m.pos >= len(m.data) {
		return t, m.fail(m.pos, "ends without a stop opcode")
	}
	t.op = m.data[m.pos]
	m.pos++
	switch arg := arguments[t.op]; arg {
	case argNone:
		return t, nil
	case argUnknown:
		return t, m.fail(t.at, fmt.Sprintf("no such opcode: 0x%02x", t.op))
	case argFixed1, argFixed2, argFixed4, argFixed8:
		return m.take(t, 1<<(arg-argFixed1))
	case argCounted1:
		return m.counted(t, 1)
	case argCounted4:
		return m.counted(t, 4)
	case argCounted8:
		return m.counted(t, 8)
	default:
		var err error
		if t.arg, err = m.line(t.at); err == nil && arg == argTwoLines {
			t.two, err = m.line(t.at)
		}
		return t, err
	}
}

// take makes the next n bytes the argument.
func (m *machine) take(t token, n uint64) (token, error) {
	if n > uint64(len(m.data)-m.pos) {
		return t, m.fail(t.at, "cut off within an argument")
	}
	t.arg = span{uint32(m.pos), uint32(n)}
	m.pos += int(n)
	return t, nil
}

// counted reads a length of the given width, then as many bytes.
func (m *machine) counted(t token, width int) (token, error) {
	if width > len(m.data)-m.pos {
		return t, m.fail(t.at, "cut off within a length")
	}
	n := number(m.data[m.pos : m.pos+width])
	m.pos += width
	return m.take(t, n)
}

// line reads up to the next newline.
func (m *machine) line(at int) (span, error) {
	n := bytes.IndexByte(m.data[m.pos:], '\n')
	if n < 0 {
		return span{}, m.fail(at, "line without an end")
	}
	s := span{uint32(m.pos), uint32(n)}
	m.pos += n + 1
	return s, nil
}

// number reads a little-endian unsigned integer of 1, 2, 4 or 8 bytes.
func number(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	default:
		return binary.LittleEndian.Uint64(b)
	}
}

func (m *machine) fail(at int, reason string) error {
	return &SyntaxError{Offset: int64(at), Reason: reason}
}

// bytes returns a piece of the record, not a copy.
func (m *machine) bytes(s span) []byte { return m.data[s.off : s.off+s.n] }

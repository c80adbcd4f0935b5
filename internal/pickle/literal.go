package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// shownString is the number of bytes of a string that Dump shows.
	shownString = 240
	// shownInteger is the number of bytes of an integer up to which Dump
	// converts it to decimal digits, which takes time in the square of it.
	shownInteger = 64
)

// numeral returns a number as Python writes it.
func (m *machine) numeral(v value) string {
	b := m.bytes(v.span())
	arg := b[1:]
	switch b[0] {
	case opInt, opLong, opFloat:
		line := strings.TrimSpace(string(arg[:min(len(arg), shownString)]))
		switch {
		case b[0] == opInt && line == "00":
			return "False"
		case b[0] == opInt && line == "01":
			return "True"
		case b[0] == opLong:
			line = strings.TrimSuffix(line, "L")
		}
		return escape(line, true)
	case opBinInt:
		return strconv.Itoa(int(int32(binary.LittleEndian.Uint32(arg))))
	case opBinInt1, opBinInt2:
		return strconv.FormatUint(number(arg), 10)
	case opBinFloat:
		return float(math.Float64frombits(binary.BigEndian.Uint64(arg)))
	case opLong4:
		return integer(arg[4:])
	default:
		return integer(arg[1:]) // opLong1
	}
}

// integer reads a little-endian number in two's complement of any length.
func integer(b []byte) string {
	if len(b) > shownInteger {
		return fmt.Sprintf("<integer of %d bytes>", len(b))
	}
	big16 := slices.Clone(b)
	slices.Reverse(big16)
	n := new(big.Int).SetBytes(big16)
	if len(b) > 0 && b[len(b)-1] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return n.String()
}

// float chooses between the two notations as Python's repr does.
func float(f float64) string {
	switch a := math.Abs(f); {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.Trim(strings.ToLower(strconv.FormatFloat(f, 'g', -1, 64)), "+")
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote returns a string in single quotes with Python's escapes, cut after a number of bytes.
func (m *machine) quote(v value, limit int) string {
	length := v.n
	// No more is unescaped than is shown; an escape takes 10 bytes at most.
	v.n = min(v.n, 10*uint32(limit))
	s := m.text(v)
	rest := ""
	if len(s) > limit {
		rest = fmt.Sprintf("%s (%d bytes)", dumpCut, length)
		s = s[:limit]
		if !v.isBytes() {
			s = wholeRunes(s)
		}
	}
	return "'" + escape(s, v.isBytes()) + "'" + rest
}

// wholeRunes drops a character at the end of s that was cut.
func wholeRunes(s string) string {
	for i := len(s) - 1; i >= 0 && i >= len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			if !utf8.FullRuneInString(s[i:]) {
				return s[:i]
			}
			break
		}
	}
	return s
}

// globalName returns “module.name”, as far as it can be a name.
func (m *machine) globalName(v value) string {
	module, name, ok := m.classNames(v)
	if !ok {
		return "<class with a name that is too long>"
	}
	return escape(module+"."+name, false)
}

// refText returns a reference for humans.
func (m *machine) refText(raw rawRef) string {
	s := "persistent ref "
	if raw.weak {
		s = "weak ref "
	}
	s += raw.oid.String()
	if module, name, ok := m.class(raw.class); ok {
		s += " (" + escape(module+"."+name, false) + ")"
	}
	if raw.db.kind != kindMissing {
		s += " in database " + m.quote(raw.db, shownString)
	}
	return s
}

// escape writes control characters, quotes and the backslash as escapes. With asBytes, everything
// beyond ASCII too.
func escape(s string, asBytes bool) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf && !asBytes {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case size == 1 && (s[i] == '\'' || s[i] == '\\'):
			out.WriteString("\\" + s[i:i+1])
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case size == 1 && (s[i] < ' ' || s[i] > '~'):
			fmt.Fprintf(&out, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&out, `\U%08x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		i += size
	}
	return out.String()
}

package pickle

import (
	"strconv"
	"unicode/utf8"
)

// isString reports whether v is text or bytes of any kind.
func (v value) isString() bool { return v.kind >= kindBytes && v.kind <= kindLatin1Esc }

// isBytes reports whether v is bytes in Python 3's sense.
func (v value) isBytes() bool {
	return v.kind == kindBytes || v.kind == kindLatin1 || v.kind == kindLatin1Esc || v.kind == kindArray
}

// appendRaw appends the bytes that a string stands for; text stands for its
// latin-1 encoding, and ok is false where it has none or an escape is broken.
func (m *machine) appendRaw(dst []byte, v value) (_ []byte, ok bool) {
	b := m.bytes(v.span())
	switch v.kind {
	case kindBytes, kindStr, kindArray:
		return append(dst, b...), true
	case kindQuoted:
		return appendUnquoted(dst, b)
	case kindText, kindLatin1:
		for len(b) > 0 {
			r, size := utf8.DecodeRune(b)
			if r > 0xff || r == utf8.RuneError && size == 1 {
				return dst, false
			}
			dst, b = append(dst, byte(r)), b[size:]
		}
		return dst, true
	case kindEscaped, kindLatin1Esc:
		for len(b) > 0 {
			r, size := escapedRune(b)
			if r > 0xff {
				return dst, false
			}
			dst, b = append(dst, byte(r)), b[size:]
		}
		return dst, true
	}
	return dst, false
}

// text returns a string as UTF-8 for humans and comparisons. Bytes that are not
// UTF-8 stay as they are.
func (m *machine) text(v value) string {
	b := m.bytes(v.span())
	switch v.kind {
	case kindQuoted, kindLatin1, kindLatin1Esc:
		raw, _ := m.appendRaw(nil, v)
		return string(raw)
	case kindEscaped:
		var out []byte
		for len(b) > 0 {
			r, size := escapedRune(b)
			out, b = utf8.AppendRune(out, r), b[size:]
		}
		return string(out)
	}
	return string(b)
}

// escapedRune reads the first character of protocol 0 text: latin-1, where only
// \uXXXX and \UXXXXXXXX are escapes (Python's raw-unicode-escape).
func escapedRune(b []byte) (r rune, size int) {
	if b[0] == '\\' && len(b) > 1 {
		digits := 0
		switch b[1] {
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		}
		if digits > 0 && len(b) >= 2+digits {
			if n, err := strconv.ParseUint(string(b[2:2+digits]), 16, 32); err == nil && n <= utf8.MaxRune {
				return rune(n), 2 + digits
			}
		}
	}
	return rune(b[0]), 1
}

// appendUnquoted resolves the escapes of a Python 2 string literal.
func appendUnquoted(dst, b []byte) (_ []byte, ok bool) {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			dst = append(dst, b[i])
			continue
		}
		i++
		if i == len(b) {
			return dst, false
		}
		switch c := b[i]; c {
		case '\\', '\'', '"':
			dst = append(dst, c)
		case 'a':
			dst = append(dst, 7)
		case 'b':
			dst = append(dst, 8)
		case 'f':
			dst = append(dst, 12)
		case 'n':
			dst = append(dst, 10)
		case 'r':
			dst = append(dst, 13)
		case 't':
			dst = append(dst, 9)
		case 'v':
			dst = append(dst, 11)
		case 'x':
			if i+2 >= len(b) {
				return dst, false
			}
			n, err := strconv.ParseUint(string(b[i+1:i+3]), 16, 8)
			if err != nil {
				return dst, false
			}
			dst, i = append(dst, byte(n)), i+2
		case '0', '1', '2', '3', '4', '5', '6', '7':
			end := min(i+3, len(b))
			n := 0
			for ; i < end && b[i] >= '0' && b[i] <= '7'; i++ {
				n = n*8 + int(b[i]-'0')
			}
			i--
			dst = append(dst, byte(n))
		default:
			dst = append(dst, '\\', c)
		}
	}
	return dst, true
}

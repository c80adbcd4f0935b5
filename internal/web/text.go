package web

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText is how many bytes of a text a page shows.
const maxText = 64 << 10

// safe makes a text harmless and readable on one line, of at most max characters.
func safe[T string | []byte](v T, max int) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(v); {
		r, size := decode(v, i)
		if n++; n > max {
			return b.String() + "…"
		}
		if r == '\n' || r == '\t' || r == '\r' {
			r = ' '
		}
		writeRune(&b, r)
		i += size
	}
	return b.String()
}

// whole makes a text harmless, with its lines.
func whole[T string | []byte](v T) string {
	var b strings.Builder
	for i := 0; i < len(v); {
		if i >= maxText {
			fmt.Fprintf(&b, "… (%d more bytes)", len(v)-i)
			break
		}
		r, size := decode(v, i)
		if r == '\n' || r == '\t' {
			b.WriteRune(r)
		} else {
			writeRune(&b, r)
		}
		i += size
	}
	return b.String()
}

func decode[T string | []byte](v T, i int) (rune, int) {
	return utf8.DecodeRuneInString(string(v[i:min(i+utf8.UTFMax, len(v))]))
}

// writeRune shows what would not be seen, or would change the rest: control characters as their
// pictures, and marks of direction and invisible ones as their code.
func writeRune(b *strings.Builder, r rune) {
	const pictures = '␀'
	switch {
	case r < ' ':
		b.WriteRune(pictures + r)
	case r == 0x7f:
		b.WriteRune('␡')
	case r == '\u200c' || r == '\u200d':
		b.WriteRune(r) // Persian and families of emoji need them
	case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Co, r):
		fmt.Fprintf(b, "‹U+%04X›", r)
	default:
		b.WriteRune(r) // of invalid UTF-8 U+FFFD
	}
}

// anyText returns the bytes or string behind an argument of a template.
func anyText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	case fmt.Stringer:
		return v.String()
	}
	return fmt.Sprint(v)
}

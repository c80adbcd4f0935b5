package wire

import (
	"bytes"
	"math/big"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// longestDigits is the number of digits of an integer in text, as in Python.
const longestDigits = 4300

// stepStored does the opcodes that only stored pickles may have.
func (u *unpickler) stepStored(op byte) error {
	switch op {
	case opPOP:
		if len(u.marks) > 0 && len(u.stack) == u.fence() {
			u.marks = u.marks[:len(u.marks)-1]
			return nil
		}
		_, err := u.pop(1)
		return err
	case opPOP_MARK:
		_, err := u.popMark()
		return err
	case opDUP:
		v, err := u.top()
		if err != nil {
			return err
		}
		return u.push(v)
	case opFRAME:
		_, err := u.take(8)
		return err
	case opMEMOIZE:
		v, err := u.top()
		if err != nil {
			return err
		}
		return u.put(uint32(len(u.memo)+len(u.far)), v)

	case opINT, opLONG, opFLOAT, opSTRING, opUNICODE:
		line, err := u.line()
		if err != nil {
			return err
		}
		v, ok := parseLine(op, line)
		if !ok {
			return errType
		}
		return u.push(v)
	case opSHORT_BINUNICODE:
		return u.pushText(1)
	case opBINUNICODE8:
		return u.pushText(8)
	case opBINBYTES8, opBYTEARRAY8:
		return u.pushBytes(8)

	case opEMPTY_SET:
		return u.push(&node{kind: nodeSet})
	case opADDITEMS:
		vs, err := u.popMark()
		if err != nil {
			return err
		}
		return u.extend(nodeSet, vs)
	case opFROZENSET:
		vs, err := u.popMark()
		if err != nil {
			return err
		}
		return u.push(&node{kind: nodeFrozen, items: copied(vs)})
	}
	return u.stepObject(op)
}

// stepObject does the opcodes that make objects and references to others.
func (u *unpickler) stepObject(op byte) error {
	switch op {
	case opNEWOBJ_EX:
		return u.newObject(2)
	case opSTACK_GLOBAL:
		vs, err := u.pop(2)
		if err != nil {
			return err
		}
		module, okModule := vs[0].(string)
		name, okName := vs[1].(string)
		if !okModule || !okName {
			return errType
		}
		return u.pushClass(module, name)
	case opINST:
		if _, err := u.line(); err != nil {
			return err
		}
		if _, err := u.line(); err != nil {
			return err
		}
		if _, err := u.popMark(); err != nil {
			return err
		}
	case opOBJ:
		if _, err := u.popMark(); err != nil {
			return err
		}
	case opPERSID:
		if _, err := u.line(); err != nil {
			return err
		}
	case opBINPERSID:
		if _, err := u.pop(1); err != nil {
			return err
		}
	case opEXT1, opEXT2, opEXT4:
		if _, err := u.take(1 << (op - opEXT1)); err != nil {
			return err
		}
	default:
		return errOpcode
	}
	return u.push(opaque{})
}

// storedString is a string of Python 2: text if it can be, else bytes.
func storedString(b []byte) any {
	if utf8.Valid(b) {
		return boxText(b)
	}
	return b
}

// parseLine returns the value of an opcode whose argument is a line of text.
func parseLine(op byte, line []byte) (any, bool) {
	switch op {
	case opINT:
		switch string(line) {
		case "00":
			return false, true
		case "01":
			return true, true
		}
		return parseInt(line)
	case opLONG:
		return parseInt(bytes.TrimSuffix(line, []byte("L")))
	case opFLOAT:
		f, err := strconv.ParseFloat(string(line), 64)
		return f, err == nil
	case opSTRING:
		b, ok := unquote(line)
		return storedString(b), ok
	}
	return unescapeText(line), true
}

func parseInt(b []byte) (any, bool) {
	if len(b) > longestDigits {
		return nil, false
	}
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		return n, true
	}
	n, ok := new(big.Int).SetString(string(b), 10)
	return n, ok
}

// escapes are the escapes of one character in Python's literals.
var escapes = map[byte]byte{
	'\\': '\\', '\'': '\'', '"': '"', 'a': 7, 'b': 8, 't': 9, 'n': 10, 'v': 11, 'f': 12, 'r': 13,
}

// unquote returns the value of a literal of Python 2: quotes around it, and \n, \x00 or \000 in it.
func unquote(b []byte) ([]byte, bool) {
	b = bytes.TrimRight(b, " \t\r")
	if len(b) < 2 || b[0] != b[len(b)-1] || b[0] != '\'' && b[0] != '"' {
		return nil, false
	}
	b = b[1 : len(b)-1]
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		c := b[0]
		b = b[1:]
		if c != '\\' || len(b) == 0 {
			out = append(out, c)
			continue
		}
		digits, base := 0, 8
		if b[0] == 'x' {
			b = b[1:]
			digits, base = 2, 16
			if len(b) < digits {
				return nil, false
			}
		} else {
			for digits < min(3, len(b)) && b[digits] >= '0' && b[digits] <= '7' {
				digits++
			}
		}
		if digits > 0 {
			n, err := strconv.ParseUint(string(b[:digits]), base, 16)
			if err != nil {
				return nil, false
			}
			out = append(out, byte(n))
			b = b[digits:]
			continue
		}
		if e, ok := escapes[b[0]]; ok {
			out = append(out, e)
		} else {
			out = append(out, c, b[0])
		}
		b = b[1:]
	}
	return out, true
}

// unescapeText returns the text of a UNICODE line: Latin-1 with \u0000 and \U00000000.
// Python 2 writes characters beyond U+FFFF as two surrogates.
func unescapeText(b []byte) string {
	out := make([]byte, 0, len(b))
	var high rune // a surrogate that waits for its second half
	for len(b) > 0 {
		r, n := nextEscaped(b)
		b = b[n:]
		if high != 0 {
			if joined := utf16.DecodeRune(high, r); joined != utf8.RuneError {
				out, high = utf8.AppendRune(out, joined), 0
				continue
			}
			out, high = appendSurrogate(out, high), 0
		}
		switch {
		case r >= 0xd800 && r < 0xdc00:
			high = r
		case utf16.IsSurrogate(r):
			out = appendSurrogate(out, r)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	if high != 0 {
		out = appendSurrogate(out, high)
	}
	return string(out)
}

// nextEscaped returns the first character and how many bytes it takes.
func nextEscaped(b []byte) (rune, int) {
	digits := 0
	if len(b) >= 2 && b[0] == '\\' {
		switch b[1] {
		case 'u':
			digits = 4
		case 'U':
			digits = 8
		}
	}
	if digits > 0 && len(b) >= 2+digits {
		if n, err := strconv.ParseUint(string(b[2:2+digits]), 16, 32); err == nil && n <= utf8.MaxRune {
			return rune(n), 2 + digits
		}
	}
	return rune(b[0]), 1
}

// appendSurrogate encodes a surrogate for itself.
func appendSurrogate(b []byte, r rune) []byte {
	return append(b, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
}

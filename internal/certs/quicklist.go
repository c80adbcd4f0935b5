package certs

import (
	"bytes"
	"crypto/x509"
)

// readRevocations reads a revocation list. The parser of crypto/x509 makes numbers, times and extensions of
// each entry, which takes most of the time of a large list: it gets the list without its entries here, and
// the entries are read for their serial numbers alone. A list with any entry in an unusual form goes
// through that parser whole.
func readRevocations(der []byte) (*revocations, error) {
	if r, ok := quickList(der); ok {
		return r, nil
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	return newRevocations(l), nil
}

// Tags of DER, as far as a list has them.
const (
	derInteger  = 0x02
	derSequence = 0x30
	derUTCTime  = 0x17
	derTime     = 0x18
)

// element takes the first element off: whole, and its content.
func element(b []byte) (tag byte, whole, content, rest []byte, ok bool) {
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return 0, nil, nil, nil, false
	}
	n, head := int(b[1]), 2
	if n >= 0x80 {
		digits := n & 0x7f
		if digits == 0 || digits > 4 || len(b) < 2+digits {
			return 0, nil, nil, nil, false
		}
		n = 0
		for _, d := range b[2 : 2+digits] {
			n = n<<8 | int(d)
		}
		if head += digits; n < 0x80 || n < 1<<(8*(digits-1)) { // a shorter form has to be used
			return 0, nil, nil, nil, false
		}
	}
	if n > len(b)-head {
		return 0, nil, nil, nil, false
	}
	return b[0], b[:head+n], b[head : head+n], b[head+n:], true
}

// sequence makes an element of others.
func sequence(parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	n := len(content)
	head := []byte{derSequence}
	switch {
	case n < 0x80:
		head = append(head, byte(n))
	case n < 1<<8:
		head = append(head, 0x81, byte(n))
	case n < 1<<16:
		head = append(head, 0x82, byte(n>>8), byte(n))
	default:
		head = append(head, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		for head[2] == 0 {
			head = append(head[:2], head[3:]...)
			head[1]--
		}
	}
	return append(head, content...)
}

// quickList reads a list of which each entry has the usual form; else ok is false.
func quickList(der []byte) (r *revocations, ok bool) {
	tag, _, content, rest, ok := element(der)
	if !ok || tag != derSequence || len(rest) > 0 {
		return nil, false
	}
	tag, signed, tbs, signature, ok := element(content)
	if !ok || tag != derSequence {
		return nil, false
	}
	before, entries, after, ok := splitList(tbs)
	if !ok {
		return nil, false
	}
	serials, ok := quickSerials(entries)
	if !ok {
		return nil, false
	}
	l, err := x509.ParseRevocationList(sequence(sequence(before, after), signature))
	if err != nil {
		return nil, false
	}
	l.Raw, l.RawTBSRevocationList = der, signed
	r = newRevocations(l)
	r.serials = serials
	return r, true
}

// splitList finds the entries between the other parts of the signed content: behind the version, the
// algorithm, the issuer and one or two times.
func splitList(tbs []byte) (before, entries, after []byte, ok bool) {
	rest := tbs
	for _, want := range [][]byte{{derInteger}, {derSequence}, {derSequence}, {derUTCTime, derTime}} {
		tag, _, _, next, ok := element(rest)
		if !ok || bytes.IndexByte(want, tag) < 0 {
			return nil, nil, nil, false
		}
		rest = next
	}
	tag, _, _, next, ok := element(rest)
	if ok && (tag == derUTCTime || tag == derTime) {
		rest = next
		tag, _, _, next, ok = element(rest)
	}
	if !ok || tag != derSequence {
		return nil, nil, nil, false
	}
	_, _, entries, _, _ = element(rest)
	return tbs[:len(tbs)-len(rest)], entries, next, true
}

// reason is an extension of an entry with its reason, but for the last byte.
const reason = "\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01"

// quickSerials returns the serial numbers of entries without those that are taken back.
func quickSerials(entries []byte) (serials map[string]struct{}, ok bool) {
	text := string(entries) // the numbers are parts of it
	at := 0
	serials = make(map[string]struct{}, len(entries)/40)
	for at < len(text) {
		tag, whole, entry, _, ok := element(entries[at:])
		if !ok || tag != derSequence {
			return nil, false
		}
		end := at + len(whole)
		at = end - len(entry)
		tag, whole, number, rest, ok := element(entry)
		if !ok || tag != derInteger || len(number) == 0 || number[0] >= 0x80 || number[0] == 0 && (len(number) == 1 || number[1] < 0x80) {
			return nil, false
		}
		serial := text[at+len(whole)-len(number) : at+len(whole)]
		if number[0] == 0 {
			serial = serial[1:]
		}
		tag, _, when, rest, ok := element(rest)
		if !ok || !isTime(tag, when) {
			return nil, false
		}
		takenBackNow := false
		if len(rest) > 0 {
			if len(rest) != len(reason)+1 || string(rest[:len(reason)]) != reason {
				return nil, false
			}
			takenBackNow = rest[len(reason)] == takenBack
		}
		if !takenBackNow {
			serials[serial] = struct{}{}
		}
		at = end
	}
	return serials, true
}

// isTime reports whether a time has the form of DER; whether there is such a day is not looked at, since
// nothing depends on it.
func isTime(tag byte, when []byte) bool {
	switch {
	case tag == derUTCTime && len(when) == len("060102150405Z"), tag == derTime && len(when) == len("20060102150405Z"):
	default:
		return false
	}
	for _, c := range when[:len(when)-1] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return when[len(when)-1] == 'Z'
}

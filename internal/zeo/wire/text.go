package wire

import "unicode/utf8"

// validText reports whether b is UTF-8. Pickles may hold surrogates in it, each
// encoded for itself, as Python's error handler surrogatepass does.
func validText(b []byte, surrogates bool) bool {
	return utf8.Valid(b) || surrogates && validSurrogates(b)
}

// validString is validText for a string.
func validString(s string, surrogates bool) bool {
	return utf8.ValidString(s) || surrogates && validSurrogates([]byte(s))
}

// validSurrogates reports whether b is UTF-8, surrogates allowed.
func validSurrogates(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			if len(b) < 3 || b[0] != 0xed || b[1] < 0xa0 || b[1] > 0xbf || b[2] < 0x80 || b[2] > 0xbf {
				return false
			}
			n = 3
		}
		b = b[n:]
	}
	return true
}

// asciiText reports whether b is ASCII.
func asciiText(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// longestKnown is the length of the longest of the known texts.
const longestKnown = 32

// known are texts that come again and again: names of methods and of exceptions, keys. They are
// boxed once, so that a message with them allocates nothing for them.
var known = boxAll(
	"", " ", "1", replyName,
	"register", "get_info", "lastTransaction", "getInvalidations", "new_oids", "pack",
	"loadBefore", "storea", "checkCurrentSerialInTransaction", "restorea",
	"storeBlobStart", "storeBlobChunk", "storeBlobEnd", "storeBlobShared", "deleteObject",
	"tpc_begin", "vote", "tpc_finish", "tpc_abort", "history", "record_iternext", "sendBlob",
	"getTid", "loadSerial", "undoa", "undoLog", "undoInfo", "iterator_start",
	"iterator_next", "iterator_record_start", "iterator_record_next", "iterator_gc",
	"server_status", "set_client_label", "ping",
	"invalidateTransaction", "info", "receiveBlobStart", "receiveBlobChunk", "receiveBlobStop",
	"length", "size", "name", "user_name", "description", "id", "tid", "time", "oid", "data",
	"serials", "message", "class_name",
)

func boxAll(texts ...string) map[string]any {
	m := make(map[string]any, len(texts))
	for _, t := range texts {
		m[t] = t
	}
	return m
}

// boxText returns b as a string.
func boxText(b []byte) any {
	if len(b) <= longestKnown {
		if v, ok := known[string(b)]; ok {
			return v
		}
	}
	return string(b)
}

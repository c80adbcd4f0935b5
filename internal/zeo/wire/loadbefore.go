package wire

import "github.com/dirstorage/dirstorage/zodb"

// LoadBefore recognises the request that nearly all traffic consists of, in the exact
// form in which clients send it: loadBefore(oid, tid) with the id (oid, tid) or a small
// integer id. ok is false for everything else, which is not an error.
//
// The forms, with the id in the middle and all else at fixed places:
//
//	pickle                                        msgpack
//	80 03 28                                      94
//	43 08 oid 43 08 tid 86                        92 c4 08 oid c4 08 tid
//	  or 4b, 4d, 4a, 8a and a positive number       or a positive number
//	89 58 0a000000 "loadBefore"                   c2 aa "loadBefore"
//	43 08 oid 43 08 tid 86 74 2e                  92 c4 08 oid c4 08 tid
func LoadBefore(e Encoding, frame []byte) (rawID []byte, oid zodb.OID, tid zodb.TID, ok bool) {
	switch e {
	case Pickle:
		return loadBeforePickle(frame)
	case Msgpack:
		return loadBeforeMsgpack(frame)
	}
	return nil, 0, 0, false
}

func loadBeforePickle(frame []byte) (rawID []byte, oid zodb.OID, tid zodb.TID, ok bool) {
	const (
		name  = "\x89X\x0a\x00\x00\x00loadBefore"
		bytes = "C\x08" // before oid and tid
		end   = "\x86t."
		tail  = len(name) + 2 + 8 + 2 + 8 + len(end)
	)
	at := len(frame) - tail // of name
	if at <= len(pickleHead) || string(frame[:len(pickleHead)]) != pickleHead {
		return nil, 0, 0, false
	}
	id, args := frame[len(pickleHead):at:at], frame[at+len(name):]
	if string(frame[at:at+len(name)]) != name ||
		string(args[:2]) != bytes || string(args[10:12]) != bytes || string(args[20:]) != end ||
		!plainPickleID(id) {
		return nil, 0, 0, false
	}
	return id, zodb.OIDFromBytes(args[2:]), zodb.TIDFromBytes(args[12:]), true
}

// plainPickleID reports whether id is the pair of oid and tid, or a positive integer.
func plainPickleID(id []byte) bool {
	last := id[len(id)-1]
	switch len(id) {
	case 21:
		return id[0] == opSHORT_BINBYTES && id[1] == 8 &&
			id[10] == opSHORT_BINBYTES && id[11] == 8 && last == opTUPLE2
	case 2:
		return id[0] == opBININT1
	case 3:
		return id[0] == opBININT2
	case 5:
		return id[0] == opBININT && last < 0x80
	case 7, 8, 9, 10:
		return id[0] == opLONG1 && int(id[1]) == len(id)-2 && last < 0x80
	}
	return false
}

func loadBeforeMsgpack(frame []byte) (rawID []byte, oid zodb.OID, tid zodb.TID, ok bool) {
	const (
		name  = "\xc2\xaaloadBefore\x92\xc4\x08"
		bytes = "\xc4\x08"
		tail  = len(name) + 8 + 2 + 8
	)
	at := len(frame) - tail
	if at <= len(msgpackHead) || string(frame[:len(msgpackHead)]) != msgpackHead {
		return nil, 0, 0, false
	}
	id, args := frame[len(msgpackHead):at:at], frame[at+len(name):]
	if string(frame[at:at+len(name)]) != name || string(args[8:10]) != bytes || !plainMsgpackID(id) {
		return nil, 0, 0, false
	}
	return id, zodb.OIDFromBytes(args), zodb.TIDFromBytes(args[10:]), true
}

// plainMsgpackID reports whether id is the pair of oid and tid, or a positive integer.
func plainMsgpackID(id []byte) bool {
	switch len(id) {
	case 21:
		return string(id[:3]) == "\x92\xc4\x08" && string(id[11:13]) == "\xc4\x08"
	case 1:
		return id[0] < 0x80
	case 2:
		return id[0] == 0xcc
	case 3:
		return id[0] == 0xcd
	case 5:
		return id[0] == 0xce
	case 9:
		return id[0] == 0xcf
	}
	return false
}

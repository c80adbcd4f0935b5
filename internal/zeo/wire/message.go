package wire

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// Encoding is how the messages of a connection are encoded: its letter in the
// handshake.
type Encoding byte

// The encodings.
const (
	Pickle  Encoding = 'Z'
	Msgpack Encoding = 'M'
)

// replyName is the name of replies.
const replyName = ".reply"

// Message is a request or one-way call, or (with Name ".reply") a reply.
type Message struct {
	// RawID is the encoded id, a part of the frame, to be written back as it is.
	RawID []byte
	ID    any
	// Flag is the second field as it was sent; OneWay and Failed interpret it.
	Flag any
	Name string
	Args any // Tuple or List of a request; the result of a reply
}

// OneWay reports whether no reply is wanted: any true value of the flag.
func (m *Message) OneWay() bool { return truth(m.Flag) }

// Failed reports whether a reply is the failure of the request: Args is then
// the pair (dotted name of the exception, details).
func (m *Message) Failed() bool { return m.Name == replyName && truth(m.Flag) }

var (
	errFields = errors.New("not a tuple of four")
	errName   = errors.New("the name is not text")
	errArgs   = errors.New("the arguments are not a tuple or list")
)

// Decode decodes a frame. Byte slices in the result are parts of frame. Errors
// say that the peer is to be given up.
func Decode(e Encoding, frame []byte) (Message, error) {
	return decode(e, frame, unlimited)
}

// DecodeRequest is Decode for a message from a client: the values in it may not take more
// than memory bytes, those of byte slices, which are parts of frame, not counted. The
// error matches ErrMemory if they would.
func DecodeRequest(e Encoding, frame []byte, memory int) (Message, error) {
	return decode(e, frame, memory)
}

// ErrMemory is a message that would take more memory than it may.
var ErrMemory = errors.New("the values in it take too much memory")

func decode(e Encoding, frame []byte, memory int) (Message, error) {
	var m Message
	var err error
	switch e {
	case Pickle:
		m, err = decodePickle(frame, memory)
	case Msgpack:
		m, err = decodeMsgpack(frame, memory)
	default:
		err = unknownEncoding(e)
	}
	if err != nil {
		return Message{}, fmt.Errorf("undecodable message: %w", err)
	}
	return m, nil
}

func unknownEncoding(e Encoding) error { return fmt.Errorf("unknown encoding %q", byte(e)) }

// setFields sets all but RawID. An id of -1 marks messages that are ignored, with any
// content.
func (m *Message) setFields(fields []any) error {
	if len(fields) != 4 {
		return errFields
	}
	name, ok := fields[2].(string)
	if !ok {
		return errName
	}
	m.ID, m.Flag, m.Name, m.Args = fields[0], fields[1], name, fields[3]
	if name == replyName || m.ID == int64(-1) {
		return nil
	}
	switch m.Args.(type) {
	case Tuple, List:
		return nil
	}
	return errArgs
}

// Parts of messages, encoded.
const (
	pickleHead   = "\x80\x03("
	pickleTail   = "t."
	pickleResult = "K\x00X\x06\x00\x00\x00.reply"
	pickleError  = "K\x02X\x06\x00\x00\x00.reply"
	pickleCall   = "K\x00\x88"

	msgpackHead   = "\x94"
	msgpackResult = "\x00\xa6.reply"
	msgpackError  = "\x02\xa6.reply"
	msgpackCall   = "\x00\xc3"
)

// The Append functions append the payload of one message (without its length)
// to dst. They fail if v cannot be expressed in the encoding, and then return dst
// as it was. An empty rawID stands for the id 0.

// AppendReply appends a result for a request.
func AppendReply(dst []byte, e Encoding, rawID []byte, v any) ([]byte, error) {
	return appendParts(dst, e, func(b []byte) ([]byte, error) {
		return appendValue(appendReplyHead(b, e, rawID, pickleResult, msgpackResult), e, v, 2)
	})
}

// AppendLoaded appends the result (data, start, end or None) of a loadBefore without boxing.
// An end of 0 is None. The bytes are those of AppendReply. data may have up to 4 GiB
// less 100 bytes: more doesn't fit into a frame, which AppendFrame finds out.
func AppendLoaded(dst []byte, e Encoding, rawID []byte, data []byte, start, end zodb.TID) []byte {
	if e == Msgpack {
		return appendLoadedMsgpack(dst, rawID, data, start, end)
	}
	return appendLoadedPickle(dst, rawID, data, start, end)
}

// AppendError appends the failure of a request: the dotted name of a Python exception,
// and its details (Dict or Tuple).
func AppendError(dst []byte, e Encoding, rawID []byte, class string, details any) ([]byte, error) {
	return appendParts(dst, e, func(b []byte) ([]byte, error) {
		b = appendReplyHead(b, e, rawID, pickleError, msgpackError)
		return appendValue(b, e, Tuple{class, details}, 2)
	})
}

// AppendCall appends a one-way call of the server (id 0, flag True).
func AppendCall(dst []byte, e Encoding, name string, args ...any) ([]byte, error) {
	return appendParts(dst, e, func(b []byte) ([]byte, error) {
		if e == Msgpack {
			b = append(b, msgpackCall...)
		} else {
			b = append(b, pickleCall...)
		}
		return appendNameArgs(b, e, name, args)
	})
}

// AroundBytes returns the bytes before and behind the last argument in the frame of a one-way call of
// the server, the length of the frame included. That argument is n bytes, more than 0, which follow
// args.
func AroundBytes(e Encoding, n int, name string, args ...any) (head, tail []byte, err error) {
	const mark = 0xFF // in no tail
	b, err := AppendFrame(nil, func(b []byte) ([]byte, error) {
		return AppendCall(b, e, name, append(slices.Clip(args), bytes.Repeat([]byte{mark}, n))...)
	})
	if err != nil {
		return nil, nil, err
	}
	end := bytes.LastIndexByte(b, mark) + 1
	return slices.Clone(b[:end-n]), slices.Clone(b[end:]), nil
}

// AppendRequest appends a request of a client.
func AppendRequest(dst []byte, e Encoding, id any, oneWay bool, name string, args ...any) ([]byte, error) {
	return appendParts(dst, e, func(b []byte) ([]byte, error) {
		b, err := appendValue(b, e, id, 2)
		if err != nil {
			return nil, err
		}
		if b, err = appendValue(b, e, oneWay, 2); err != nil {
			return nil, err
		}
		return appendNameArgs(b, e, name, args)
	})
}

// appendParts puts the parts of a message around the bytes that f appends.
func appendParts(dst []byte, e Encoding, f func([]byte) ([]byte, error)) ([]byte, error) {
	head, tail := pickleHead, pickleTail
	switch e {
	case Pickle:
	case Msgpack:
		head, tail = msgpackHead, ""
	default:
		return dst, unknownEncoding(e)
	}
	out, err := f(append(dst, head...))
	if err != nil {
		return dst, err
	}
	return append(out, tail...), nil
}

// appendReplyHead appends the id and the flag and name of a reply.
func appendReplyHead(b []byte, e Encoding, rawID []byte, inPickle, inMsgpack string) []byte {
	if e == Msgpack {
		return append(appendMsgpackID(b, rawID), inMsgpack...)
	}
	return append(appendPickleID(b, rawID), inPickle...)
}

func appendPickleID(b, rawID []byte) []byte {
	if len(rawID) == 0 {
		return append(b, opBININT1, 0)
	}
	return append(b, rawID...)
}

func appendMsgpackID(b, rawID []byte) []byte {
	if len(rawID) == 0 {
		return append(b, 0)
	}
	return append(b, rawID...)
}

func appendNameArgs(b []byte, e Encoding, name string, args []any) ([]byte, error) {
	b, err := appendValue(b, e, name, 2)
	if err != nil {
		return nil, err
	}
	return appendValue(b, e, Tuple(args), 2)
}

// appendValue appends one value, which lies at this depth.
func appendValue(b []byte, e Encoding, v any, depth int) ([]byte, error) {
	if e == Msgpack {
		return appendMsgpack(b, v, depth)
	}
	return pickler{}.append(b, v, depth)
}

// inexpressible is the error for a value that an encoding has no form for.
func inexpressible(v any) error { return fmt.Errorf("cannot be encoded: %T", v) }

var (
	errDeepValue = errors.New("cannot be encoded: too deep")
	errLongValue = errors.New("cannot be encoded: longer than 4 GiB")
	errTextValue = errors.New("cannot be encoded: text that is not UTF-8")
	errKeyValue  = errors.New("cannot be encoded: a key that is not text or bytes")
)

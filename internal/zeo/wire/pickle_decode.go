package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// unpickler runs a pickle. Its stack and memo hold, besides Values,
//
//	*node   a list, dict, set or Prefix, which may still grow
//	class   one of the callables that are known
//	opaque  an object that is not to be had (lenient only)
//
// which settle replaces at the end.
type unpickler struct {
	data []byte
	pos  int
	// lenient reads pickles that Python has stored in files: all opcodes up to protocol
	// 5, and objects of unknown classes, as opaque.
	lenient bool

	stack []any
	marks []int // heights of the stack at the open MARKs

	// memo holds the indexes that are used one after the other, as all picklers
	// do; far holds those that leave gaps, so that an index can't cost memory.
	memo     []any
	far      map[uint32]any
	memoUsed int // where the memo was first used; -1 = not at all

	values int // how many more may be made
	visits int // how many more the settled value may have
	bytes  int // how many more bytes the text and bytes in it may have
	memory int // how many more bytes of memory the values may take

	isMessage bool
	id        idSpan // of a message

	// The first memory of stack and marks, which is enough for nearly all messages.
	firstStack [12]any
	firstMarks [4]int
}

// idSpan is the place of the first element of the outermost tuple.
type idSpan struct {
	start, end int
	whole      bool // the pickle was (first … t . and start, end are right
}

// node is a value that can still grow after it was put into the memo or on the stack.
type node struct {
	kind    nodeKind
	items   []any // list, set
	pairs   Dict  // dict
	prefix  *Prefix
	settled any
}

type nodeKind uint8

const (
	nodeList nodeKind = iota
	nodeDict
	nodeSet
	nodeFrozen
	nodePrefix
)

// opaque is an object that is not to be had.
type opaque struct{}

var errOpaque = errors.New("an object of an unknown class")

func newUnpickler(data []byte) *unpickler {
	n := len(data)
	u := &unpickler{data: data, memoUsed: -1, values: valueLimit(n), visits: valueLimit(n), bytes: byteLimit(n), memory: unlimited}
	u.stack, u.marks = u.firstStack[:0], u.firstMarks[:0]
	return u
}

// decodePickle decodes a message.
func decodePickle(frame []byte, memory int) (Message, error) {
	u := newUnpickler(frame)
	u.memory = memory
	u.isMessage = true
	fields, err := u.runMessage()
	if err != nil {
		return Message{}, err
	}
	for i, v := range fields {
		if fields[i], err = u.settle(v, 2); err != nil {
			return Message{}, u.fail(err)
		}
	}
	var m Message
	if err := m.setFields(fields); err != nil {
		return Message{}, err
	}
	if span := u.id; span.whole && (u.memoUsed < 0 || u.memoUsed >= span.end) {
		m.RawID = frame[span.start:span.end:span.end]
	} else if m.RawID, err = (pickler{}).append(nil, m.ID, 2); err != nil {
		return Message{}, fmt.Errorf("id: %w", err)
	}
	return m, nil
}

// runMessage returns the elements of the outermost tuple or list, not yet settled.
func (u *unpickler) runMessage() ([]any, error) {
	v, err := u.run()
	if err != nil {
		return nil, err
	}
	if u.id.whole {
		return u.stack, nil
	}
	items, ok := sequence(v)
	if !ok {
		return nil, errFields
	}
	return items, nil
}

// sequence returns the items of a tuple or list.
func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case Tuple:
		return v, true
	case *node:
		if v.kind == nodeList {
			return v.items, true
		}
	}
	return nil, false
}

func (u *unpickler) fail(err error) error {
	return fmt.Errorf("pickle, byte %d: %w", u.pos, err)
}

var (
	errTruncated = errors.New("truncated")
	errMany      = errors.New("too many values")
	errLong      = errors.New("too much text")
	errDeep      = errors.New("too deep")
	errUnderflow = errors.New("stack underflow")
	errNoMark    = errors.New("no mark on the stack")
	errText      = errors.New("text that is not UTF-8")
	errASCII     = errors.New("string that is not ASCII")
	errType      = errors.New("an operation on a value of the wrong type")
	errMemo      = errors.New("nothing at this place of the memo")
	errKey       = errors.New("a key or an element of a set that can change")
	errClass     = errors.New("a class where a value has to be")
	errOpcode    = errors.New("unknown opcode")
	errStop      = errors.New("stops with other than one value on the stack")
	errProtocol  = errors.New("unknown protocol")
	errInteger   = errors.New("an integer of more bytes than any that has a use")
	errLine      = errors.New("a line of more bytes than any that has a use")
)

// run reads the pickle up to its STOP and returns its value. For a message of the usual
// form it leaves the elements of the outermost tuple on the stack.
func (u *unpickler) run() (any, error) {
	for {
		if u.pos >= len(u.data) {
			return nil, u.fail(errTruncated)
		}
		op := u.data[u.pos]
		u.pos++
		if op == opSTOP {
			if len(u.stack) != 1 || len(u.marks) != 0 {
				return nil, u.fail(errStop)
			}
			return u.stack[0], nil
		}
		if u.isMessage && len(u.marks) <= 1 && u.isWhole(op) {
			return nil, nil
		}
		if err := u.step(op); err != nil {
			u.pos--
			return nil, u.fail(fmt.Errorf("opcode %#02x: %w", op, err))
		}
		if u.isMessage && len(u.marks) == 1 && len(u.stack) == 1 && u.marks[0] == 0 {
			u.id.end = u.pos
		}
	}
}

// isWhole notes where the id of a message starts, and reports whether op is the end of the
// outermost tuple, so that there is no need to make it.
func (u *unpickler) isWhole(op byte) bool {
	m := &u.id
	switch op {
	case opMARK:
		if len(u.stack) == 0 && len(u.marks) == 0 {
			m.start = u.pos
		}
	case opTUPLE:
		m.whole = len(u.marks) == 1 && u.marks[0] == 0 && u.pos < len(u.data) && u.data[u.pos] == opSTOP
	}
	return m.whole
}

// take returns the next n bytes.
func (u *unpickler) take(n int64) ([]byte, error) {
	if n < 0 || n > int64(len(u.data)-u.pos) {
		return nil, errTruncated
	}
	end := u.pos + int(n)
	b := u.data[u.pos:end:end]
	u.pos = end
	return b, nil
}

// counted returns the bytes that follow their length in size bytes, little-endian.
func (u *unpickler) counted(size int64) ([]byte, error) {
	n, err := u.uint(size)
	if err != nil {
		return nil, err
	}
	if n > math.MaxInt64 {
		return nil, errTruncated
	}
	return u.take(int64(n))
}

// uint returns a number of size bytes, little-endian.
func (u *unpickler) uint(size int64) (uint64, error) {
	b, err := u.take(size)
	if err != nil {
		return 0, err
	}
	var n uint64
	for i, c := range b {
		n |= uint64(c) << (8 * i)
	}
	return n, nil
}

// line returns the bytes up to the end of the line.
func (u *unpickler) line() ([]byte, error) {
	rest := u.data[u.pos:]
	if !u.lenient {
		rest = rest[:min(len(rest), maxLine+1)]
	}
	n := bytes.IndexByte(rest, '\n')
	if n < 0 && len(rest) > maxLine && !u.lenient {
		return nil, errLine
	}
	if n < 0 {
		return nil, errTruncated
	}
	b, err := u.take(int64(n))
	u.pos++
	return b, err
}

// charge counts n values that are made.
func (u *unpickler) charge(n int) error {
	if n > u.values {
		return errMany
	}
	u.values -= n
	return u.chargeMemory(valueMemory * n)
}

// chargeMemory counts n bytes of memory that values take.
func (u *unpickler) chargeMemory(n int) error {
	if u.memory -= n; u.memory < 0 {
		return ErrMemory
	}
	return nil
}

// pushNode pushes a list, dict or set.
func (u *unpickler) pushNode(n *node) error {
	if err := u.chargeMemory(nodeMemory); err != nil {
		return err
	}
	return u.push(n)
}

func (u *unpickler) push(v any) error {
	u.stack = append(u.stack, v)
	return u.charge(1)
}

// fence is the height below which nothing may be popped.
func (u *unpickler) fence() int {
	if len(u.marks) == 0 {
		return 0
	}
	return u.marks[len(u.marks)-1]
}

// pop removes the n uppermost values. The slice is good until the next push.
func (u *unpickler) pop(n int) ([]any, error) {
	height := len(u.stack) - n
	if height < u.fence() {
		return nil, errUnderflow
	}
	vs := u.stack[height:]
	u.stack = u.stack[:height]
	return vs, nil
}

// top returns the uppermost value, which stays on the stack.
func (u *unpickler) top() (any, error) {
	if len(u.stack) <= u.fence() {
		return nil, errUnderflow
	}
	return u.stack[len(u.stack)-1], nil
}

// copied returns a copy of values on the stack.
func copied(vs []any) []any {
	out := make([]any, len(vs))
	copy(out, vs)
	return out
}

// popMark removes everything above the uppermost mark and the mark. The slice
// is good until the next push.
func (u *unpickler) popMark() ([]any, error) {
	if len(u.marks) == 0 {
		return nil, errNoMark
	}
	height := u.fence()
	vs := u.stack[height:]
	u.stack = u.stack[:height]
	u.marks = u.marks[:len(u.marks)-1]
	return vs, nil
}

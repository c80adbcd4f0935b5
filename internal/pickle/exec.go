package pickle

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
)

// step executes one opcode. It is one switch because that is how the protocol
// is defined; each case is a line or a call.
func (m *machine) step(t token) error {
	switch t.op {
	case opProto:
		if p := m.data[t.arg.off]; p > highestProtocol {
			return m.fail(t.at, fmt.Sprintf("protocol %d, at most %d is known", p, highestProtocol))
		}
	case opFrame:
		if number(m.bytes(t.arg)) > uint64(len(m.data)-m.pos) {
			return m.fail(t.at, "frame runs past the end")
		}
	case opMark:
		m.marks = append(m.marks, uint32(len(m.stack)))
	case opNone:
		m.push(value{kind: kindNone})
	case opNewTrue:
		m.push(value{kind: kindTrue})
	case opNewFalse:
		m.push(value{kind: kindFalse})
	case opInt, opLong, opFloat, opBinInt, opBinInt1, opBinInt2, opLong1, opLong4, opBinFloat:
		m.push(value{kind: kindNumber, off: uint32(t.at), n: uint32(m.pos - t.at)})
	case opBinBytes, opShortBinBytes, opBinBytes8:
		m.push(value{kindBytes, t.arg.off, t.arg.n})
	case opBinString, opShortBinString:
		m.push(value{kindStr, t.arg.off, t.arg.n})
	case opByteArray8:
		m.push(value{kindArray, t.arg.off, t.arg.n})
	case opBinUnicode, opShortBinUnicode, opBinUnicode8:
		m.push(value{kindText, t.arg.off, t.arg.n})
	case opUnicode:
		m.push(value{kindEscaped, t.arg.off, t.arg.n})
	case opString:
		return m.quoted(t)
	case opGlobal:
		m.push(m.global(t.arg, t.two))
	case opExt1, opExt2, opExt4:
		m.push(value{kind: kindExt, off: uint32(number(m.bytes(t.arg)))})
	case opEmptyTuple:
		m.push(value{kind: kindTuple})
	case opEmptyList:
		m.push(m.newNode(kindList, node{}))
	case opEmptyDict:
		m.push(m.newNode(kindDict, node{}))
	case opEmptySet:
		m.push(m.newNode(kindSet, node{}))
	case opNextBuffer, opReadonlyBuffer:
		return m.fail(t.at, "buffers outside the pickle")
	case opPersID:
		return m.reference(value{kindStr, t.arg.off, t.arg.n}, t.at)
	case opGet, opBinGet, opLongBinGet, opPut, opBinPut, opLongBinPut, opMemoize:
		return m.memoOp(t)
	default:
		return m.stackOp(t)
	}
	return nil
}

// stackOp does the opcodes that take something from the stack.
func (m *machine) stackOp(t token) error {
	switch t.op {
	case opPop:
		if len(m.marks) > 0 && len(m.stack) == m.fence() {
			m.marks = m.marks[:len(m.marks)-1]
			return nil
		}
		_, err := m.pop(1, t.at)
		return err
	case opDup:
		vs, err := m.top(1, t.at)
		if err == nil {
			m.push(vs[0])
		}
		return err
	case opTuple1, opTuple2, opTuple3:
		vs, err := m.pop(int(t.op-opTuple1)+1, t.at)
		if err == nil {
			m.push(m.tuple(vs))
		}
		return err
	case opAppend:
		return m.add(t, 1, chunkItems)
	case opSetItem:
		return m.add(t, 2, chunkPairs)
	case opBuild:
		return m.add(t, 1, chunkState)
	case opReduce, opNewObj, opNewObjEx:
		return m.call(t)
	case opStackGlobal:
		return m.stackGlobal(t)
	case opBinPersID:
		vs, err := m.pop(1, t.at)
		if err != nil {
			return err
		}
		return m.reference(vs[0], t.at)
	}
	return m.markOp(t)
}

// markOp does the opcodes that take everything above a mark.
func (m *machine) markOp(t token) error {
	vs, err := m.popMark(t.at)
	if err != nil {
		return err
	}
	pairs := t.op == opDict || t.op == opSetItems
	if pairs && len(vs)%2 != 0 {
		return m.fail(t.at, "odd number of keys and values")
	}
	switch t.op {
	case opTuple:
		m.push(m.tuple(vs))
	case opList:
		m.pushGrown(kindList, chunkItems, vs)
	case opDict:
		m.pushGrown(kindDict, chunkPairs, vs)
	case opFrozenSet:
		m.pushGrown(kindFrozen, chunkItems, vs)
	case opInst:
		m.push(m.newNode(kindCall, node{callee: m.global(t.arg, t.two), args: m.tuple(vs)}))
	case opObj:
		if len(vs) == 0 {
			return m.fail(t.at, "stack underflow")
		}
		m.push(m.newNode(kindCall, node{callee: vs[0], args: m.tuple(vs[1:])}))
	case opPopMark: // nothing is left of them
	case opAppends, opAddItems, opSetItems:
		what := chunkItems
		if pairs {
			what = chunkPairs
		}
		under, err := m.top(1, t.at)
		if err != nil {
			return err
		}
		m.grow(under[0], what, vs)
	}
	return nil
}

// pushGrown pushes a new container that holds vs, which lie above the stack.
func (m *machine) pushGrown(k kind, what chunkKind, vs []value) {
	v := m.newNode(k, node{})
	m.grow(v, what, vs)
	m.push(v)
}

// add moves the n uppermost values into the one below them.
func (m *machine) add(t token, n int, what chunkKind) error {
	if _, err := m.top(n+1, t.at); err != nil {
		return err
	}
	vs, err := m.pop(n, t.at)
	if err == nil {
		m.grow(m.stack[len(m.stack)-1], what, vs)
	}
	return err
}

// call replaces a callable and its arguments by the result.
func (m *machine) call(t token) error {
	n := 2
	if t.op == opNewObjEx {
		n = 3
	}
	vs, err := m.pop(n, t.at)
	if err != nil {
		return err
	}
	if t.op == opReduce {
		if v, ok := m.encodedBytes(vs[0], vs[1]); ok {
			m.push(v)
			return nil
		}
		m.push(m.newNode(kindCall, node{callee: vs[0], args: vs[1]}))
		return nil
	}
	made := node{callee: vs[0], args: vs[1]}
	if n == 3 {
		made.options = vs[2]
	}
	m.push(m.newNode(kindNew, made))
	return nil
}

// encodedBytes recognises _codecs.encode(text, 'latin1'), which is how Python 3
// writes bytes in protocols below 3.
func (m *machine) encodedBytes(callee, args value) (value, bool) {
	if callee.kind != kindGlobal || args.kind != kindTuple || args.n != 2 {
		return value{}, false
	}
	names := m.kids[callee.off : callee.off+2]
	if string(m.bytes(names[0].span())) != "_codecs" || string(m.bytes(names[1].span())) != "encode" {
		return value{}, false
	}
	vs := m.elements(args)
	if vs[1].kind != kindText && vs[1].kind != kindEscaped && vs[1].kind != kindStr {
		return value{}, false
	}
	switch string(m.bytes(vs[1].span())) {
	case "latin1", "latin-1", "iso-8859-1":
	default:
		return value{}, false
	}
	switch vs[0].kind {
	case kindText:
		return value{kindLatin1, vs[0].off, vs[0].n}, true
	case kindEscaped:
		return value{kindLatin1Esc, vs[0].off, vs[0].n}, true
	}
	return value{}, false
}

// global makes a class or function of the names of its module and itself.
func (m *machine) global(module, name span) value {
	m.kids = append(m.kids, value{kindText, module.off, module.n}, value{kindText, name.off, name.n})
	return value{kind: kindGlobal, off: uint32(len(m.kids) - 2)}
}

func (m *machine) stackGlobal(t token) error {
	vs, err := m.pop(2, t.at)
	if err != nil {
		return err
	}
	for _, v := range vs {
		if v.kind != kindText {
			return m.fail(t.at, "name of a class is not text")
		}
	}
	m.push(m.global(vs[0].span(), vs[1].span()))
	return nil
}

// quoted pushes a string literal of protocol 0.
func (m *machine) quoted(t token) error {
	b := bytes.TrimSpace(m.bytes(t.arg))
	if len(b) < 2 || b[0] != b[len(b)-1] || b[0] != '\'' && b[0] != '"' {
		return m.fail(t.at, "string without quotes")
	}
	lead := bytes.IndexByte(m.bytes(t.arg), b[0])
	m.push(value{kindQuoted, t.arg.off + uint32(lead) + 1, uint32(len(b) - 2)})
	return nil
}

// memoOp does the opcodes that read and write the memo.
func (m *machine) memoOp(t token) error {
	index, err := m.memoIndex(t)
	if err != nil {
		return err
	}
	switch t.op {
	case opGet, opBinGet, opLongBinGet:
		v := m.get(index)
		if v.kind == kindMissing {
			return m.fail(t.at, fmt.Sprintf("nothing at %d of the memo", index))
		}
		m.push(v)
		return nil
	}
	vs, err := m.top(1, t.at)
	if err == nil {
		m.put(index, vs[0])
	}
	return err
}

func (m *machine) memoIndex(t token) (uint32, error) {
	switch t.op {
	case opMemoize:
		return uint32(m.memoCount), nil
	case opGet, opPut:
		n, err := strconv.ParseUint(string(m.bytes(t.arg)), 10, 32)
		if err != nil || n > math.MaxInt32 {
			return 0, m.fail(t.at, "index of the memo is not a number in range")
		}
		return uint32(n), nil
	default:
		return uint32(number(m.bytes(t.arg))), nil
	}
}

package wire

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
)

// step carries out an opcode.
func (u *unpickler) step(op byte) error {
	switch op {
	case opPROTO:
		return u.proto()
	case opMARK:
		// Open marks are bound like the depth: each stands for something that is not yet closed.
		if len(u.marks) >= maxDepth {
			return errDeep
		}
		u.marks = append(u.marks, len(u.stack))
		return nil

	case opNONE:
		return u.push(nil)
	case opNEWTRUE:
		return u.push(true)
	case opNEWFALSE:
		return u.push(false)
	case opBININT1:
		return u.pushUint(1)
	case opBININT2:
		return u.pushUint(2)
	case opBININT:
		n, err := u.uint(4)
		if err != nil {
			return err
		}
		return u.push(int64(int32(n)))
	case opLONG1:
		return u.pushLong(1)
	case opLONG4:
		return u.pushLong(4)
	case opBINFLOAT:
		b, err := u.take(8)
		if err != nil {
			return err
		}
		return u.push(math.Float64frombits(binary.BigEndian.Uint64(b)))

	case opBINUNICODE:
		return u.pushText(4)
	case opSHORT_BINBYTES:
		return u.pushBytes(1)
	case opBINBYTES:
		return u.pushBytes(4)
	case opSHORT_BINSTR:
		return u.pushString(1)
	case opBINSTRING:
		return u.pushString(4)

	case opEMPTY_TUPLE:
		return u.push(emptyTuple)
	case opTUPLE1, opTUPLE2, opTUPLE3:
		vs, err := u.pop(int(op-opTUPLE1) + 1)
		if err != nil {
			return err
		}
		return u.push(Tuple(copied(vs)))
	case opTUPLE:
		vs, err := u.popMark()
		if err != nil {
			return err
		}
		if len(vs) == 0 {
			return u.push(emptyTuple)
		}
		return u.push(Tuple(copied(vs)))

	case opEMPTY_LIST:
		return u.pushNode(&node{kind: nodeList})
	case opLIST:
		vs, err := u.popMark()
		if err != nil {
			return err
		}
		return u.pushNode(&node{kind: nodeList, items: copied(vs)})
	case opAPPEND:
		vs, err := u.pop(1)
		if err != nil {
			return err
		}
		return u.extend(nodeList, vs)
	case opAPPENDS:
		vs, err := u.popMark()
		if err != nil {
			return err
		}
		return u.extend(nodeList, vs)

	case opEMPTY_DICT:
		return u.pushNode(&node{kind: nodeDict})
	case opDICT:
		vs, err := u.popMark()
		if err != nil {
			return err
		}
		d := &node{kind: nodeDict}
		if err := d.setItems(vs); err != nil {
			return err
		}
		return u.pushNode(d)
	case opSETITEM:
		vs, err := u.pop(2)
		if err != nil {
			return err
		}
		return u.update(vs)
	case opSETITEMS:
		vs, err := u.popMark()
		if err != nil {
			return err
		}
		return u.update(vs)

	case opPUT, opBINPUT, opLONG_BINPUT, opGET, opBINGET, opLONG_BINGET:
		return u.stepMemo(op)
	case opGLOBAL:
		return u.global()
	case opREDUCE:
		return u.reduce()
	case opNEWOBJ:
		return u.newObject(1)
	case opBUILD:
		return u.build()
	}
	if u.lenient {
		return u.stepStored(op)
	}
	return errOpcode
}

func (u *unpickler) proto() error {
	n, err := u.uint(1)
	if err != nil {
		return err
	}
	if n > 5 || n > 3 && !u.lenient {
		return errProtocol
	}
	return nil
}

func (u *unpickler) pushUint(size int64) error {
	n, err := u.uint(size)
	if err != nil {
		return err
	}
	return u.push(int64(n))
}

// pushLong pushes an integer in two's complement, little-endian.
func (u *unpickler) pushLong(size int64) error {
	b, err := u.counted(size)
	if err != nil {
		return err
	}
	if len(b) > maxInteger {
		return errInteger
	}
	for len(b) > 8 && (b[len(b)-1] == 0 && b[len(b)-2] < 0x80 || b[len(b)-1] == 0xff && b[len(b)-2] >= 0x80) {
		b = b[:len(b)-1] // only repeats the sign
	}
	if len(b) > 8 {
		return u.push(bigInt(b))
	}
	var n uint64
	for i, c := range b {
		n |= uint64(c) << (8 * i)
	}
	unused := 64 - 8*len(b)
	return u.push(int64(n<<unused) >> unused)
}

// bigInt is the opposite of twosComplement.
func bigInt(b []byte) *big.Int {
	digits := slices.Clone(b)
	slices.Reverse(digits)
	negative := digits[0] >= 0x80
	if negative {
		for i := range digits {
			digits[i] = ^digits[i]
		}
	}
	v := new(big.Int).SetBytes(digits)
	if negative {
		v.Not(v)
	}
	return v
}

func (u *unpickler) pushText(size int64) error {
	b, err := u.counted(size)
	if err != nil {
		return err
	}
	if !validText(b, true) {
		return errText
	}
	if err := u.chargeMemory(len(b)); err != nil {
		return err
	}
	return u.push(boxText(b))
}

func (u *unpickler) pushBytes(size int64) error {
	b, err := u.counted(size)
	if err != nil {
		return err
	}
	return u.push(b)
}

// pushString pushes a string of Python 2. In messages that is ASCII text.
func (u *unpickler) pushString(size int64) error {
	b, err := u.counted(size)
	if err != nil {
		return err
	}
	if size == 4 && len(b) > math.MaxInt32 {
		return errTruncated // the length has a sign
	}
	if u.lenient {
		return u.push(storedString(b))
	}
	if !asciiText(b) {
		return errASCII
	}
	if err := u.chargeMemory(len(b)); err != nil {
		return err
	}
	return u.push(boxText(b))
}

// extend adds to the list, or set, on top of the stack.
func (u *unpickler) extend(kind nodeKind, vs []any) error {
	v, err := u.top()
	if err != nil {
		return err
	}
	switch n := v.(type) {
	case *node:
		if n.kind == kind {
			n.items = append(n.items, vs...)
			return nil
		}
	case opaque:
		return nil
	}
	return errType
}

// update adds pairs to the dict on top of the stack.
func (u *unpickler) update(vs []any) error {
	v, err := u.top()
	if err != nil {
		return err
	}
	switch n := v.(type) {
	case *node:
		return n.setItems(vs)
	case opaque:
		return nil
	}
	return errType
}

// setItems adds key, value, key, value, … to a dict.
func (n *node) setItems(vs []any) error {
	if n.kind != nodeDict || len(vs)%2 != 0 {
		return errType
	}
	n.pairs = slices.Grow(n.pairs, len(vs)/2)
	for i := 0; i < len(vs); i += 2 {
		n.pairs = append(n.pairs, Pair{Key: vs[i], Value: vs[i+1]})
	}
	return nil
}

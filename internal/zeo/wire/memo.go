package wire

import "strconv"

// stepMemo does the opcodes of the memo.
func (u *unpickler) stepMemo(op byte) error {
	if u.memoUsed < 0 {
		u.memoUsed = u.pos - 1
	}
	index, err := u.memoIndex(op)
	if err != nil {
		return err
	}
	switch op {
	case opGET, opBINGET, opLONG_BINGET:
		v, ok := u.get(index)
		if !ok {
			return errMemo
		}
		return u.push(v)
	}
	v, err := u.top()
	if err != nil {
		return err
	}
	return u.put(index, v)
}

func (u *unpickler) memoIndex(op byte) (uint32, error) {
	switch op {
	case opPUT, opGET:
		b, err := u.line()
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(string(b), 10, 32)
		return uint32(n), err
	case opBINPUT, opBINGET:
		n, err := u.uint(1)
		return uint32(n), err
	}
	n, err := u.uint(4)
	return uint32(n), err
}

// unset is a hole in the memo.
type unset struct{}

// put sets a place of the memo.
func (u *unpickler) put(index uint32, v any) error {
	switch i, n := uint64(index), uint64(len(u.memo)); {
	case i < n:
		u.memo[i] = v
		return nil
	case i == n:
		u.memo = append(u.memo, v)
	case i == n+1: // Python 2 counts from 1
		u.memo = append(u.memo, unset{}, v)
	default:
		if u.far == nil {
			u.far = make(map[uint32]any)
		}
		u.far[index] = v
	}
	return u.charge(1)
}

// get returns a place of the memo.
func (u *unpickler) get(index uint32) (any, bool) {
	if uint64(index) < uint64(len(u.memo)) {
		if _, hole := u.memo[index].(unset); !hole {
			return u.memo[index], true
		}
	}
	v, ok := u.far[index]
	return v, ok
}

package wire

import "fmt"

// PickleDict returns the protocol 3 pickle of a transaction's extension as FileStorage
// keeps it; nothing for an empty dict. It fails if that would be longer than
// limit bytes. Entries that cannot be expressed are left out: those with a Prefix.
func PickleDict(d Dict, limit int) ([]byte, error) {
	p := pickler{classes: true}
	kept := make(Dict, 0, len(d))
	size := 0
	var scratch []byte
	for _, pair := range d {
		var err error
		if scratch, err = p.appendPair(scratch[:0], pair, 1); err != nil {
			scratch = nil
			continue
		}
		if size += len(scratch); size > limit {
			return nil, fmt.Errorf("extension is longer than %d bytes", limit)
		}
		kept = append(kept, pair)
	}
	if len(kept) == 0 {
		return nil, nil
	}
	b, err := p.append([]byte{opPROTO, 3}, kept, 1)
	if err != nil {
		return nil, err
	}
	if b = append(b, opSTOP); len(b) > limit {
		return nil, fmt.Errorf("extension of %d bytes is longer than %d", len(b), limit)
	}
	return b, nil
}

// UnpickleDict reads a stored extension of any protocol up to 5. Parts that cannot be expressed
// as a Value are left out; so is everything if the pickle cannot be read. Strings of Python 2
// are text if they are UTF-8, else bytes. Byte slices in the result are parts of b.
func UnpickleDict(b []byte) Dict {
	if len(b) == 0 {
		return nil
	}
	u := newUnpickler(b)
	u.lenient = true
	v, err := u.run()
	if err != nil {
		return nil
	}
	n, ok := v.(*node)
	if !ok || n.kind != nodeDict {
		return nil
	}
	kept := make(Dict, 0, len(n.pairs))
	for _, pair := range n.pairs {
		one := Dict{pair}
		switch err := u.settlePairs(one, 1); err {
		case nil:
			kept = append(kept, one[0])
		case errOpaque:
		default:
			return nil
		}
	}
	return unique(kept)
}

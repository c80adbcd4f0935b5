package wire

import "math/big"

// settle returns v, which lies at this depth, as a Value, with everything in it settled,
// too. It goes through shared values each time, without making them again: the number of
// visits is the number of values that a walk over the result will see, and a list that
// holds itself ends at the depth.
func (u *unpickler) settle(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	if u.visits--; u.visits < 0 {
		return nil, errMany
	}
	switch t := v.(type) {
	case string:
		return v, u.chargeBytes(len(t))
	case []byte:
		return v, u.chargeBytes(len(t))
	case *big.Int:
		return v, u.chargeBytes(t.BitLen() / 8)
	case Tuple:
		return v, u.settleAll(t, depth)
	case *node:
		return u.settleNode(t, depth)
	// These were settled before and are met again in a shared tuple or node.
	case List:
		return v, u.settleAll(t, depth)
	case Dict:
		return v, u.settlePairs(t, depth)
	case Set:
		return v, u.settleAll(t.Items, depth)
	case Prefix:
		return v, u.chargePrefix(&t)
	case class:
		if u.lenient {
			return nil, errOpaque
		}
		return nil, errClass
	case opaque:
		return nil, errOpaque
	}
	return v, nil
}

// chargeBytes counts n bytes of text or bytes.
func (u *unpickler) chargeBytes(n int) error {
	if n > u.bytes {
		return errLong
	}
	u.bytes -= n
	return nil
}

func (u *unpickler) settleAll(vs []any, depth int) error {
	for i, v := range vs {
		var err error
		if vs[i], err = u.settle(v, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpickler) settleNode(n *node, depth int) (any, error) {
	var err error
	switch n.kind {
	case nodeDict:
		err = u.settlePairs(n.pairs, depth)
	case nodePrefix:
		if n.prefix == nil {
			return nil, errClass
		}
		err = u.chargePrefix(n.prefix)
	default:
		err = u.settleAll(n.items, depth)
	}
	if err != nil {
		return nil, err
	}
	if n.settled == nil {
		n.settled, err = n.value()
	}
	return n.settled, err
}

func (u *unpickler) settlePairs(pairs Dict, depth int) error {
	for i := range pairs {
		p := &pairs[i]
		var err error
		if p.Key, err = u.settle(p.Key, depth+1); err != nil {
			return err
		}
		if !hashable(p.Key) {
			return errKey
		}
		if p.Value, err = u.settle(p.Value, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpickler) chargePrefix(p *Prefix) error {
	if u.visits -= len(p.Path); u.visits < 0 {
		return errMany
	}
	for _, part := range p.Path {
		if err := u.chargeBytes(len(part)); err != nil {
			return err
		}
	}
	return nil
}

// value returns the Value of a node whose items are settled.
func (n *node) value() (any, error) {
	switch n.kind {
	case nodeList:
		if len(n.items) == 0 {
			return emptyList, nil
		}
		return List(n.items), nil
	case nodeDict:
		if len(n.pairs) == 0 {
			return emptyDict, nil
		}
		n.pairs = unique(n.pairs)
		return n.pairs, nil
	case nodePrefix:
		return *n.prefix, nil
	}
	for _, item := range n.items {
		if !hashable(item) {
			return nil, errKey
		}
	}
	return Set{Items: n.items, Frozen: n.kind == nodeFrozen}, nil
}

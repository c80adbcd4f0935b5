package wire

import (
	"errors"
	"slices"
)

var errClassName = errors.New("a class that no message may have")

// class is a callable that a pickle may name. There are no others: a GLOBAL is
// looked up in a table, and its entries are done here, in Go.
type class uint8

const (
	classDict class = iota
	classSet
	classFrozenset
	classBytearray
	classComplex
	classBinary // bytes, of Python 2 clients
	classPrefix
	classBytes  // only stored, in protocols below 3
	classEncode // only stored: bytes as text, in protocols below 3
)

// className is the name of a callable.
type className struct{ module, name string }

// classes are those that clients can send.
var classes = map[className]class{
	{"builtins", "dict"}:          classDict,
	{"builtins", "set"}:           classSet,
	{"builtins", "frozenset"}:     classFrozenset,
	{"builtins", "bytearray"}:     classBytearray,
	{"builtins", "complex"}:       classComplex,
	{"zodbpickle", "binary"}:      classBinary,
	{"ZopeUndo.Prefix", "Prefix"}: classPrefix,
}

// storedClasses are further ones that stored extensions may have.
var storedClasses = map[className]class{
	{"__builtin__", "dict"}:      classDict,
	{"__builtin__", "set"}:       classSet,
	{"__builtin__", "frozenset"}: classFrozenset,
	{"__builtin__", "bytearray"}: classBytearray,
	{"__builtin__", "complex"}:   classComplex,
	{"__builtin__", "bytes"}:     classBytes,
	{"builtins", "bytes"}:        classBytes,
	{"_codecs", "encode"}:        classEncode,
}

// global pushes the class of a GLOBAL.
func (u *unpickler) global() error {
	module, err := u.line()
	if err != nil {
		return err
	}
	name, err := u.line()
	if err != nil {
		return err
	}
	return u.pushClass(string(module), string(name))
}

func (u *unpickler) pushClass(module, name string) error {
	if c, ok := classes[className{module, name}]; ok {
		return u.push(c)
	}
	if !u.lenient {
		return errClassName
	}
	if c, ok := storedClasses[className{module, name}]; ok {
		return u.push(c)
	}
	return u.push(opaque{})
}

// reduce replaces a callable and its arguments by the result of the call.
func (u *unpickler) reduce() error {
	vs, err := u.pop(2)
	if err != nil {
		return err
	}
	if err := u.chargeMemory(nodeMemory); err != nil {
		return err
	}
	callee, isClass := vs[0].(class)
	args, isTuple := vs[1].(Tuple)
	if isClass && isTuple {
		v, err := u.call(callee, args)
		if err != errType {
			if err != nil {
				return err
			}
			return u.push(v)
		}
	}
	return u.pushUnknown()
}

// pushUnknown pushes an object of which nothing is known, which only stored extensions may have.
func (u *unpickler) pushUnknown() error {
	if !u.lenient {
		return errType
	}
	return u.push(opaque{})
}

// call calls a class. It gives errType for arguments that it doesn't take.
func (u *unpickler) call(c class, args Tuple) (any, error) {
	switch {
	case c == classDict && len(args) == 0:
		return &node{kind: nodeDict}, nil
	case c == classDict && len(args) == 1:
		return u.dictOf(args[0])
	case c == classSet && len(args) <= 1:
		return u.setOf(nodeSet, args)
	case c == classFrozenset && len(args) <= 1:
		return u.setOf(nodeFrozen, args)
	case c == classComplex && len(args) == 2:
		return complexOf(args[0], args[1])
	case c == classBytearray && len(args) == 0, c == classBytes && len(args) == 0:
		return []byte{}, nil
	case c == classBinary && len(args) == 1, c == classBytearray && len(args) == 1:
		if b, ok := args[0].([]byte); ok {
			return b, nil
		}
	case c == classEncode && len(args) == 2, c == classBytearray && len(args) == 2:
		return u.latin1Of(args[0], args[1])
	}
	return nil, errType
}

// dictOf returns a dict of another one or of a sequence of pairs.
func (u *unpickler) dictOf(v any) (any, error) {
	if n, ok := v.(*node); ok && n.kind == nodeDict {
		if err := u.charge(2 * len(n.pairs)); err != nil {
			return nil, err
		}
		return &node{kind: nodeDict, pairs: slices.Clone(n.pairs)}, nil
	}
	items, ok := sequence(v)
	if !ok {
		return nil, errType
	}
	if err := u.charge(2 * len(items)); err != nil {
		return nil, err
	}
	d := &node{kind: nodeDict, pairs: make(Dict, len(items))}
	for i, item := range items {
		pair, ok := sequence(item)
		if !ok || len(pair) != 2 {
			return nil, errType
		}
		d.pairs[i] = Pair{Key: pair[0], Value: pair[1]}
	}
	return d, nil
}

// setOf returns a set of the items of a sequence or of another set.
func (u *unpickler) setOf(kind nodeKind, args Tuple) (any, error) {
	if len(args) == 0 {
		return &node{kind: kind}, nil
	}
	items, ok := sequence(args[0])
	if n, isNode := args[0].(*node); isNode && (n.kind == nodeSet || n.kind == nodeFrozen) {
		items, ok = n.items, true
	}
	if !ok {
		return nil, errType
	}
	if err := u.charge(len(items)); err != nil {
		return nil, err
	}
	return &node{kind: kind, items: slices.Clone(items)}, nil
}

func complexOf(re, im any) (any, error) {
	r, okR := number(re)
	i, okI := number(im)
	if !okR || !okI {
		return nil, errType
	}
	return complexNumber(complex(r, i)), nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	}
	return 0, false
}

// latin1Of returns the bytes that protocols below 3 write as text of characters up to U+00FF.
func (u *unpickler) latin1Of(text, encoding any) (any, error) {
	s, ok := text.(string)
	if !ok || encoding != "latin1" && encoding != "latin-1" {
		return nil, errType
	}
	// Each call copies.
	if err := u.chargeBytes(len(s)); err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, errType
		}
		b = append(b, byte(r))
	}
	return b, nil
}

// newObject replaces a class and its n arguments by a new object: a Prefix, of which
// BUILD then sets the attributes.
func (u *unpickler) newObject(n int) error {
	vs, err := u.pop(n + 1)
	if err != nil {
		return err
	}
	if args, ok := vs[1].(Tuple); vs[0] == classPrefix && n == 1 && ok && len(args) == 0 {
		return u.push(&node{kind: nodePrefix})
	}
	return u.pushUnknown()
}

// build sets the attributes of the object below the uppermost value.
func (u *unpickler) build() error {
	vs, err := u.pop(1)
	if err != nil {
		return err
	}
	state := vs[0]
	v, err := u.top()
	if err != nil {
		return err
	}
	switch n := v.(type) {
	case *node:
		if n.kind == nodePrefix {
			n.prefix, err = u.prefixOf(state)
			return err
		}
	case opaque:
		return nil
	}
	// Such as an attribute on a set: the object is more than the Value would be.
	if !u.lenient {
		return errType
	}
	u.stack[len(u.stack)-1] = opaque{}
	return nil
}

// prefixOf returns a Prefix of the dict of its attributes.
func (u *unpickler) prefixOf(state any) (*Prefix, error) {
	n, ok := state.(*node)
	if !ok || n.kind != nodeDict {
		return nil, errType
	}
	p := &Prefix{}
	var items []any
	for _, pair := range n.pairs {
		switch pair.Key {
		case "length":
			p.Length, ok = pair.Value.(int64)
		case "path":
			items, ok = sequence(pair.Value)
		default:
			ok = false
		}
		if !ok {
			return nil, errType
		}
	}
	if err := u.charge(len(items)); err != nil {
		return nil, err
	}
	p.Path = make([]string, len(items))
	for i, item := range items {
		if p.Path[i], ok = item.(string); !ok {
			return nil, errType
		}
	}
	return p, nil
}

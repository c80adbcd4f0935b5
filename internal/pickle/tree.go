package pickle

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
)

// Limits bound the work that one record may cause. A zero is no bound, but for Unpacked.
type Limits struct {
	// Unpacked is the size in bytes up to which a wrapped record is unpacked; 0 = that of the other
	// functions of this package.
	Unpacked int64
	// Memory is the size in bytes that the decoded values may have, beside the record.
	Memory int64
	// Stop is called now and then; its error ends the decoding, and is returned. So a context's Err ends
	// it with the context. nil: nothing ends it.
	Stop func() error
}

// ErrTooComplex is matched by the error for a record whose values take more memory than the limit.
var ErrTooComplex = errors.New("its values take more than the limit of memory")

// Tree is a decoded record. Its values belong together and refer to the record. It may be read by
// several goroutines.
type Tree struct {
	m            machine
	class, state value
}

// Parse decodes a record, without executing anything. The Tree refers to the record, which must not
// change. Errors are those of [References], and that of Limits.Stop.
func Parse(record []byte, l Limits) (*Tree, error) {
	if l.Unpacked == 0 {
		l.Unpacked = maxUnwrapped
	}
	data, err := unwrap(record, l.Unpacked)
	if err != nil {
		return nil, err
	}
	t := &Tree{m: machine{data: data, keep: true, memory: l.Memory, stop: l.Stop}}
	if t.class, t.state, err = t.m.record(); err != nil {
		return nil, err
	}
	return t, nil
}

// Class returns the class of the object, as the function [Class] does; ok is false where that has an
// error.
func (t *Tree) Class() (module, name string, ok bool) { return t.m.class(t.class) }

// Size is the length in bytes of the two pickles, unpacked.
func (t *Tree) Size() int { return len(t.m.data) }

// References yields every reference in both pickles, in the order in which they stand there, with
// repetitions.
func (t *Tree) References() iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for _, raw := range t.m.refs {
			if !yield(t.m.ref(raw)) {
				return
			}
		}
	}
}

// ref gives a reference its texts.
func (m *machine) ref(raw rawRef) Ref {
	r := Ref{OID: raw.oid, Weak: raw.weak, Class: m.className(raw.class)}
	if raw.db.kind != kindMissing {
		r.Database = m.text(raw.db)
	}
	return r
}

// State returns the value of the second pickle.
func (t *Tree) State() Value { return Value{&t.m, t.state} }

// Value is a part of a [Tree]: a Python value, as far as the pickle tells.
type Value struct {
	m *machine
	v value
}

// Ref returns the reference that the value is; ok is false if it is none.
func (v Value) Ref() (r Ref, ok bool) {
	if v.v.kind != kindRef {
		return Ref{}, false
	}
	return v.m.ref(v.m.refs[v.v.off]), true
}

// Text returns a text, or bytes of any kind, of up to maxName bytes; ok is false for another value.
func (v Value) Text() (s string, ok bool) {
	if !v.v.isString() || v.v.n > maxName {
		return "", false
	}
	return v.m.text(v.v), true
}

// Label returns the value as Dump writes it, on one line, cut after about limit bytes.
func (v Value) Label(limit int) string {
	p := printer{m: v.m, o: RenderOptions{Limit: limit}, flat: true, open: make(map[value]bool)}
	p.value(v.v, 0)
	return p.out.String()
}

// IsNone reports whether it is None.
func (v Value) IsNone() bool { return v.v.kind == kindNone }

// Tuple returns the number of elements of a tuple; ok is false for another value.
func (v Value) Tuple() (n int, ok bool) { return int(v.v.n), v.v.kind == kindTuple }

// Element returns one element of a tuple, counted from 0. It panics if there is none.
func (v Value) Element(i int) Value {
	if v.v.kind != kindTuple || i >= int(v.v.n) {
		panic(fmt.Sprintf("pickle: element %d of a value with %d", i, v.v.n))
	}
	return Value{v.m, v.m.elements(v.v)[i]}
}

// Pairs yields the keys and values of a dictionary, or of the items of an object that were set later,
// in their order; nothing for another value.
func (v Value) Pairs() iter.Seq2[Value, Value] {
	return func(yield func(Value, Value) bool) {
		if v.v.kind < kindList || v.v.kind == kindOpaque {
			return
		}
		for what, vs := range v.m.parts(v.v) {
			if what != chunkPairs {
				continue
			}
			for i := 0; i+1 < len(vs); i += 2 {
				if !yield(Value{v.m, vs[i]}, Value{v.m, vs[i+1]}) {
					return
				}
			}
		}
	}
}

// Inner returns the last state that an object inside the record was given; ok is false if it has
// none.
func (v Value) Inner() (state Value, ok bool) {
	if v.v.kind != kindCall && v.v.kind != kindNew {
		return Value{}, false
	}
	for what, vs := range v.m.parts(v.v) {
		if what == chunkState && len(vs) == 1 {
			state, ok = Value{v.m, vs[0]}, true
		}
	}
	return state, ok
}

// bytesHeld is about the memory of the machine's values.
func (m *machine) bytesHeld() int64 {
	const valueBytes, nodeBytes, chainBytes, chunkBytes, farBytes, refBytes = 12, 36, 12, 16, 64, 40
	return valueBytes*int64(len(m.stack)+len(m.memo)+len(m.kids)) + nodeBytes*int64(len(m.nodes)) + chainBytes*int64(len(m.chains)) +
		chunkBytes*int64(len(m.chunks)) + farBytes*int64(len(m.far)) + refBytes*int64(len(m.refs)) + 4*int64(len(m.marks)) + 8*int64(len(m.oids)-m.oidsFrom)
}

// Integer returns an integer of up to 8 bytes; ok is false for another value.
func (v Value) Integer() (n int64, ok bool) {
	if v.v.kind != kindNumber || v.v.n > maxName {
		return 0, false
	}
	n, err := strconv.ParseInt(v.m.numeral(v.v), 10, 64)
	return n, err == nil
}

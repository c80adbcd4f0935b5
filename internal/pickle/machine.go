package pickle

import (
	"fmt"
	"iter"
	"math"

	"github.com/dirstorage/dirstorage/zodb"
)

// kind is the sort of a value.
type kind uint8

const (
	kindMissing kind = iota // hole in the memo
	kindNone
	kindTrue
	kindFalse
	kindNumber    // off: the opcode's offset, n: the length of the token
	kindBytes     // off, n: the bytes in the record
	kindStr       // the same, Python 2 string
	kindArray     // the same, bytearray
	kindText      // the same, UTF-8
	kindQuoted    // the same, a string literal with escapes, inside its quotes
	kindEscaped   // the same, text with \u escapes
	kindLatin1    // the same, UTF-8 that stands for bytes: characters up to U+00FF
	kindLatin1Esc // the same, but kindEscaped
	kindTuple     // off, n: kids
	kindGlobal    // off: two kids, module and name
	kindExt       // off: code in the registry of extensions
	kindRef       // off: index in refs
	kindList      // off: node
	kindDict      // off: node
	kindSet       // off: node
	kindFrozen    // off: node
	kindCall      // off: node; callee(*args), from REDUCE, INST, OBJ
	kindNew       // off: node; callee.__new__(callee, *args, **options)
	kindOpaque    // something that need not be kept
)

// value is an entry on the stack of the machine or in its memo. Its parts are
// kept in the machine, so that it is small and copied without allocating.
type value struct {
	kind kind
	off  uint32
	n    uint32
}

func (v value) span() span { return span{v.off, v.n} }

// node is a value that can still grow after it was put into the memo. Its chain has the same index.
type node struct {
	callee, args, options value
}

// chain holds the values by which a node grew.
type chain struct {
	head, tail uint32 // chunks, counted from 1; 0 = none
	count      uint32 // values in all chunks
}

// chunk is a group of values that was added to a node at once.
type chunk struct {
	what   chunkKind
	off, n uint32 // kids
	next   uint32 // counted from 1; 0 = none
}

type chunkKind uint8

const (
	chunkItems chunkKind = iota // elements of a list or set
	chunkPairs                  // key, value, key, value, …
	chunkState                  // one value, from BUILD
)

// longestRef is the number of elements of the longest list or tuple that is
// part of a reference. Without keep, longer ones are not remembered.
const longestRef = 3

// machine runs pickles over values that stand for objects.
type machine struct {
	data []byte
	pos  int
	keep bool // remember everything, for Dump
	// memory is the bound of bytesHeld; 0 = none.
	memory int64
	stop   func() error // nil: nothing ends the run early
	lookAt int          // the position from which on the bound and stop are looked at again
	stack  []value
	marks  []uint32 // heights of the stack at the open MARKs
	// memo holds the indexes that are used one after the other, as all picklers
	// do; far holds those that leave gaps, so that an index can't cost memory.
	memo      []value
	far       map[uint32]value
	memoCount int

	kids   []value
	nodes  []node // with keep alone
	chains []chain
	chunks []chunk

	onlyOIDs bool // collect strong references in oids, nothing in refs
	oids     []zodb.OID
	refs     []rawRef
	// oids before oidsFrom are the caller's. When there are compactAt, repetitions are dropped.
	oidsFrom, compactAt int
}

// forget makes the machine ready for another record and keeps its buffers,
// unless they are large.
func (m *machine) forget() {
	*m = machine{
		stack: reusable(m.stack), marks: reusable(m.marks), memo: reusable(m.memo),
		kids: reusable(m.kids), nodes: reusable(m.nodes), chains: reusable(m.chains), chunks: reusable(m.chunks),
	}
}

func reusable[T any](s []T) []T {
	if cap(s) > keptValues {
		return nil
	}
	return s[:0]
}

// run reads one pickle, up to its STOP, and returns its value.
func (m *machine) run() (value, error) {
	if uint64(len(m.data)) > math.MaxUint32 {
		return value{}, m.fail(0, "longer than 4 GiB")
	}
	m.stack, m.marks = m.stack[:0], m.marks[:0]
	for {
		t, err := m.next()
		if err != nil {
			return value{}, err
		}
		if t.op == opStop {
			if len(m.stack) != 1 || len(m.marks) != 0 {
				return value{}, m.fail(t.at, fmt.Sprintf("stops with %d values on the stack, want 1", len(m.stack)))
			}
			return m.stack[0], nil
		}
		if err := m.step(t); err != nil {
			return value{}, err
		}
		if m.pos >= m.lookAt {
			if err := m.look(t.at); err != nil {
				return value{}, err
			}
		}
	}
}

// lookEach is the number of bytes of a record after which its bounds are looked at: their opcodes make
// little.
const lookEach = 4 << 10

// look ends a run that takes too much memory, or that nobody wants any more.
func (m *machine) look(at int) error {
	m.lookAt = m.pos + lookEach
	if m.memory != 0 && m.bytesHeld() > m.memory {
		return fmt.Errorf("pickle at offset %d of %d: %w of %d bytes", at, len(m.data), ErrTooComplex, m.memory)
	}
	if m.stop != nil {
		return m.stop()
	}
	return nil
}

func (m *machine) push(v value) { m.stack = append(m.stack, v) }

// fence is the height below which nothing may be popped.
func (m *machine) fence() int {
	if len(m.marks) == 0 {
		return 0
	}
	return int(m.marks[len(m.marks)-1])
}

// top returns the n uppermost values, which stay on the stack.
func (m *machine) top(n int, at int) ([]value, error) {
	if len(m.stack)-n < m.fence() {
		return nil, m.fail(at, "stack underflow")
	}
	return m.stack[len(m.stack)-n:], nil
}

// pop removes the n uppermost values. The slice is good until the next push.
func (m *machine) pop(n int, at int) ([]value, error) {
	vs, err := m.top(n, at)
	if err == nil {
		m.stack = m.stack[:len(m.stack)-n]
	}
	return vs, err
}

// popMark removes everything above the uppermost mark and the mark. The slice
// is good until the next push.
func (m *machine) popMark(at int) ([]value, error) {
	if len(m.marks) == 0 {
		return nil, m.fail(at, "no mark on the stack")
	}
	height := m.fence()
	vs := m.stack[height:]
	m.stack = m.stack[:height]
	m.marks = m.marks[:len(m.marks)-1]
	return vs, nil
}

// put sets a place of the memo.
func (m *machine) put(index uint32, v value) {
	if m.get(index).kind == kindMissing {
		m.memoCount++
	}
	switch i, n := uint64(index), uint64(len(m.memo)); {
	case i < n:
		m.memo[i] = v
	case i == n:
		m.memo = append(m.memo, v)
	case i == n+1: // Python 2 counts from 1
		m.memo = append(m.memo, value{}, v)
	default:
		if m.far == nil {
			m.far = make(map[uint32]value)
		}
		m.far[index] = v
	}
}

// get returns a place of the memo, kindMissing if nothing was put there.
func (m *machine) get(index uint32) value {
	if uint64(index) < uint64(len(m.memo)) && m.memo[index].kind != kindMissing {
		return m.memo[index]
	}
	return m.far[index]
}

// tuple makes a tuple of values, or something opaque if it is too long to be
// part of a reference and not everything is kept.
func (m *machine) tuple(vs []value) value {
	if !m.keep && len(vs) > longestRef || m.onlyOIDs && len(vs) > 0 && !vs[0].isString() {
		return value{kind: kindOpaque} // the first element of a reference is a string
	}
	v := value{kind: kindTuple, off: uint32(len(m.kids)), n: uint32(len(vs))}
	m.kids = append(m.kids, vs...)
	return v
}

// elements returns the values in a tuple.
func (m *machine) elements(v value) []value { return m.kids[v.off : v.off+v.n] }

// newNode makes a value that can grow.
func (m *machine) newNode(k kind, n node) value {
	if !m.keep && k != kindList {
		return value{kind: kindOpaque}
	}
	m.chains = append(m.chains, chain{})
	if m.keep {
		m.nodes = append(m.nodes, n)
	}
	return value{kind: k, off: uint32(len(m.chains) - 1)}
}

// grow adds values to the container or object that v stands for. Values that nobody would read are
// dropped.
func (m *machine) grow(v value, what chunkKind, vs []value) {
	if v.kind < kindList || v.kind == kindOpaque || len(vs) == 0 {
		return
	}
	n := &m.chains[v.off]
	n.count += uint32(len(vs))
	// The first element of a reference is a string.
	if !m.keep && (what != chunkItems || n.count > longestRef || m.onlyOIDs && n.head == 0 && !vs[0].isString()) {
		n.head, n.tail, n.count = 0, 0, longestRef+1
		return
	}
	m.chunks = append(m.chunks, chunk{what: what, off: uint32(len(m.kids)), n: uint32(len(vs))})
	m.kids = append(m.kids, vs...)
	last := uint32(len(m.chunks))
	if n.tail == 0 {
		n.head = last
	} else {
		m.chunks[n.tail-1].next = last
	}
	n.tail = last
}

// parts yields the chunks of a node in the order in which they were added.
func (m *machine) parts(v value) iter.Seq2[chunkKind, []value] {
	return func(yield func(chunkKind, []value) bool) {
		for i := m.chains[v.off].head; i != 0; i = m.chunks[i-1].next {
			c := m.chunks[i-1]
			if !yield(c.what, m.kids[c.off:c.off+c.n]) {
				return
			}
		}
	}
}

package pickle

import (
	"cmp"
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// Ref is one reference that a data record holds.
type Ref struct {
	OID zodb.OID
	// Weak references may lead to nothing.
	Weak bool
	// Database is the name of the other database in which the object is; empty
	// for the record's own.
	Database string
	// Class is “module.name” of the object as far as the reference tells it.
	Class string
}

// Strong reports whether the object must exist in the record's own database.
func (r Ref) Strong() bool { return !r.Weak && r.Database == "" }

// rawRef is a Ref whose texts are still in the record.
type rawRef struct {
	oid       zodb.OID
	weak      bool
	db, class value
}

// References returns every reference in both pickles of a data record, in the
// order in which they stand there, with repetitions. An error is a
// *[SyntaxError], or that of unwrap, or matches [ErrTooComplex].
func References(record []byte) ([]Ref, error) {
	data, err := unwrap(record, maxUnwrapped)
	if err != nil {
		return nil, err
	}
	m := machine{data: data, memory: mostMemory}
	if _, _, err := m.record(); err != nil {
		return nil, err
	}
	refs := make([]Ref, len(m.refs))
	// One string for all references that name the same.
	databases, classes := make(map[value]string), make(map[value]string)
	for i, raw := range m.refs {
		refs[i] = Ref{
			OID:      raw.oid,
			Weak:     raw.weak,
			Database: cached(databases, raw.db, m.text),
			Class:    cached(classes, raw.class, m.className),
		}
	}
	return refs, nil
}

// AppendStrongRefs is [Scanner.AppendStrongRefs] of a new Scanner.
func AppendStrongRefs(dst []zodb.OID, record []byte) ([]zodb.OID, error) {
	return new(Scanner).AppendStrongRefs(dst, record)
}

// Scanner looks for references in one record after the other and reuses its memory. Its zero value
// is ready. A Scanner must not be used concurrently.
type Scanner struct {
	m machine
	// memory is the bound of the values of one record; 0 = mostMemory.
	memory int64
}

// keptValues is the capacity up to which a Scanner keeps its buffers, so that
// one large record does not hold memory for ever.
const keptValues = 16 << 10

// mostMemory is the size in bytes that the values of a record may have: a packed record of some
// kilobytes may unpack to maxUnwrapped bytes, and each of them may be an opcode that makes a value of
// 36 bytes. Those of an honest record have up to seven times its size, if it consists of small lists.
const mostMemory = 512 << 20

// compactFrom is the number of references from which on repetitions are dropped meanwhile.
const compactFrom = 16 << 10

// AppendStrongRefs appends the oids that the record refers to by strong references within its own
// database, ascending and without repetitions. After an error the result is dst as it was. The error
// is a *[SyntaxError] or that of unwrap, or it matches [ErrTooComplex]: the values of the record take
// more than 512 MiB.
func (s *Scanner) AppendStrongRefs(dst []zodb.OID, record []byte) ([]zodb.OID, error) {
	data, err := unwrap(record, maxUnwrapped)
	if err != nil {
		return dst, err
	}
	m := &s.m
	defer m.forget()
	m.data, m.memory, m.onlyOIDs = data, cmp.Or(s.memory, mostMemory), true
	m.oids, m.oidsFrom, m.compactAt = dst, len(dst), len(dst)+compactFrom
	if _, _, err := m.record(); err != nil {
		return dst, err
	}
	m.compactOIDs()
	return m.oids, nil
}

// compactOIDs sorts the references, and drops repetitions. The next time is when there are twice as
// many as are left: so it costs little for each of them.
func (m *machine) compactOIDs() {
	added := m.oids[m.oidsFrom:]
	slices.Sort(added)
	m.oids = m.oids[:m.oidsFrom+len(slices.Compact(added))]
	m.compactAt = m.oidsFrom + max(2*(len(m.oids)-m.oidsFrom), compactFrom)
}

// record runs the two pickles of a data record and checks that nothing follows.
func (m *machine) record() (class, state value, err error) {
	if class, err = m.run(); err != nil {
		return class, state, err
	}
	if state, err = m.run(); err != nil {
		return class, state, err
	}
	if m.pos != len(m.data) {
		return class, state, m.fail(m.pos, "something follows the two pickles")
	}
	return class, state, nil
}

// reference takes a persistent id, notes the reference and pushes the object.
func (m *machine) reference(id value, at int) error {
	r, ok := m.parse(id)
	if !ok {
		return m.fail(at, "persistent id is of no known form")
	}
	if m.onlyOIDs {
		if !r.weak && r.db.kind == kindMissing {
			if len(m.oids) == m.compactAt {
				m.compactOIDs()
			}
			m.oids = append(m.oids, r.oid)
		}
		m.push(value{kind: kindOpaque})
		return nil
	}
	m.push(value{kind: kindRef, off: uint32(len(m.refs))})
	m.refs = append(m.refs, r)
	return nil
}

// parse tells which of the forms in the package's comment an id has.
func (m *machine) parse(id value) (rawRef, bool) {
	switch id.kind {
	case kindTuple:
		if id.n != 2 {
			return rawRef{}, false
		}
		vs := m.elements(id)
		oid, ok := m.oid(vs[0])
		return rawRef{oid: oid, class: vs[1]}, ok
	case kindList:
		return m.parseList(id)
	}
	oid, ok := m.oid(id)
	return rawRef{oid: oid}, ok
}

func (m *machine) parseList(id value) (rawRef, bool) {
	if m.chains[id.off].count > 2 {
		return rawRef{}, false
	}
	var buf [2]value
	vs := buf[:0]
	for what, part := range m.parts(id) {
		if what != chunkItems {
			return rawRef{}, false
		}
		vs = append(vs, part...)
	}
	switch len(vs) {
	case 1:
		oid, ok := m.oid(vs[0])
		return rawRef{oid: oid, weak: true}, ok
	case 2:
		if vs[1].kind != kindTuple || !vs[0].isString() || vs[0].n != 1 {
			return rawRef{}, false
		}
		return m.parseTyped(m.data[vs[0].off], m.elements(vs[1]))
	}
	return rawRef{}, false
}

func (m *machine) parseTyped(letter byte, args []value) (r rawRef, ok bool) {
	var id value
	switch {
	case letter == 'm' && len(args) == 3:
		r.db, id, r.class = args[0], args[1], args[2]
	case letter == 'n' && len(args) == 2:
		r.db, id = args[0], args[1]
	case letter == 'w' && len(args) == 1:
		r.weak, id = true, args[0]
	case letter == 'w' && len(args) == 2:
		r.weak, id, r.db = true, args[0], args[1]
	default:
		return r, false
	}
	if r.db.kind != kindMissing && (!r.db.isString() || r.db.n > maxName) {
		return r, false
	}
	r.oid, ok = m.oid(id)
	return r, ok
}

// cached returns the text that text gives for v, made once; "" for no value.
func cached(names map[value]string, v value, text func(value) string) string {
	if v.kind == kindMissing {
		return ""
	}
	s, ok := names[v]
	if !ok {
		s = text(v)
		names[v] = s
	}
	return s
}

// className returns “module.name”, "" if v is no class metadata.
func (m *machine) className(v value) string {
	module, name, ok := m.class(v)
	if !ok {
		return ""
	}
	return module + "." + name
}

// oid reads the 8 bytes of an oid out of any kind of string.
func (m *machine) oid(v value) (zodb.OID, bool) {
	switch v.kind {
	case kindBytes, kindStr:
		if v.n != 8 {
			return 0, false
		}
		return zodb.OIDFromBytes(m.bytes(v.span())), true
	case kindText, kindQuoted, kindEscaped, kindLatin1, kindLatin1Esc:
		// The longest way to write one of the 8 bytes has 10 (\U000000FF).
		if v.n > 80 {
			return 0, false
		}
		var buf [80]byte
		b, ok := m.appendRaw(buf[:0], v)
		if !ok || len(b) != 8 {
			return 0, false
		}
		return zodb.OIDFromBytes(b), true
	}
	return 0, false
}

package pickle

import (
	"fmt"
	"strings"
)

const (
	// dumpWidth is the number of bytes up to which a container is put on one line.
	dumpWidth = 72
	// dumpDepth is how deep containers are followed.
	dumpDepth = 100
	// dumpCut stands for omitted text.
	dumpCut = "…"
)

// Dump returns the state of a record in a notation that is close to Python's,
// for humans to read: containers nested with indentation, references as
// “persistent ref OID (module.Class)”, other objects as the call that makes
// them. Long strings are cut, and an object inside itself is shown as
// <recursion>. The text has at most about limit bytes and ends with “…” where
// it was cut. If the class metadata hold constructor arguments, they come first.
// Errors are those of [References].
func Dump(record []byte, limit int) (string, error) {
	data, err := unwrap(record, maxUnwrapped)
	if err != nil {
		return "", err
	}
	m := machine{data: data, keep: true}
	class, state, err := m.record()
	if err != nil {
		return "", err
	}
	p := printer{m: &m, limit: limit, open: make(map[value]bool)}
	if class.kind == kindTuple && class.n == 2 {
		if args := m.elements(class)[1]; args.kind != kindNone {
			p.write("constructor arguments: ")
			p.value(args, 0)
			p.write("\n")
		}
	}
	p.value(state, 0)
	return p.out.String(), nil
}

// printer writes values as text.
type printer struct {
	m     *machine
	out   strings.Builder
	limit int
	full  bool // limit was reached
	flat  bool // on one line
	depth int
	open  map[value]bool // containers that are being written
}

// write appends a text, or cuts it off at the limit, once.
func (p *printer) write(s string) {
	if p.full {
		return
	}
	if p.out.Len()+len(s) > p.limit {
		p.full = true
		s = dumpCut
	}
	p.out.WriteString(s)
}

// value writes any value; indent is that of the line it begins on.
func (p *printer) value(v value, indent int) {
	switch {
	case p.full:
	case v.kind >= kindTuple && v.kind != kindOpaque && v.kind != kindGlobal && v.kind != kindExt && v.kind != kindRef:
		p.container(v, indent)
	default:
		p.write(p.leaf(v))
	}
}

// leaf returns the text of a value that holds no others.
func (p *printer) leaf(v value) string {
	switch v.kind {
	case kindNone:
		return "None"
	case kindTrue:
		return "True"
	case kindFalse:
		return "False"
	case kindNumber:
		return p.m.numeral(v)
	case kindExt:
		return fmt.Sprintf("extension(%d)", v.off)
	case kindGlobal:
		return p.m.globalName(v)
	case kindRef:
		return p.m.refText(p.m.refs[v.off])
	}
	s := p.m.quote(v)
	switch {
	case v.kind == kindArray:
		return "bytearray(b" + s + ")"
	case v.isBytes():
		return "b" + s
	}
	return s
}

// container writes a value that holds others, on one line if it fits.
func (p *printer) container(v value, indent int) {
	if p.open[v] {
		p.write("<recursion>")
		return
	}
	if p.depth >= dumpDepth {
		p.write(dumpCut)
		return
	}
	if !p.flat {
		line := printer{m: p.m, limit: dumpWidth, flat: true, depth: p.depth, open: p.open}
		line.container(v, 0)
		if !line.full {
			p.write(line.out.String())
			return
		}
	}
	// A tuple can't hold itself without a container in between that is marked,
	// and equal empty tuples are one value.
	if v.kind != kindTuple {
		p.open[v] = true
		defer delete(p.open, v)
	}
	p.depth++
	defer func() { p.depth-- }()
	switch v.kind {
	case kindTuple:
		p.sequence("(", p.m.elements(v), ")", indent)
	case kindDict:
		p.parts(v, "{", "}", indent)
	case kindList:
		p.parts(v, "[", "]", indent)
	case kindSet:
		p.parts(v, "set([", "])", indent)
	case kindFrozen:
		p.parts(v, "frozenset([", "])", indent)
	default:
		p.object(v, indent)
	}
}

// sequence writes values between brackets.
func (p *printer) sequence(left string, vs []value, right string, indent int) {
	l := p.begin(left, indent)
	for _, v := range vs {
		if p.full {
			break
		}
		l.item(func() { p.value(v, l.indent) })
	}
	if len(vs) == 1 && p.flat && left == "(" {
		p.write(",") // (x,) is how Python writes a tuple of one
	}
	l.end(right)
}

// parts writes a list, set or dictionary.
func (p *printer) parts(v value, left, right string, indent int) {
	l := p.begin(left, indent)
	for what, vs := range p.m.parts(v) {
		if p.full {
			break
		}
		p.part(l, what, vs)
	}
	l.end(right)
}

func (p *printer) part(l *lines, what chunkKind, vs []value) {
	step := 1
	if what == chunkPairs {
		step = 2
	}
	for i := 0; i < len(vs) && !p.full; i += step {
		l.item(func() {
			switch what {
			case chunkState:
				p.write("state=")
			case chunkPairs:
				p.value(vs[i], l.indent)
				p.write(": ")
			}
			p.value(vs[i+step-1], l.indent)
		})
	}
}

// object writes callee(arguments…), then the state and items put into the object later.
func (p *printer) object(v value, indent int) {
	n := p.m.nodes[v.off]
	if s, ok := p.m.date(n); ok {
		p.write(s)
		return
	}
	p.value(n.callee, indent)
	l := p.begin("(", indent)
	switch n.args.kind {
	case kindTuple:
		for _, arg := range p.m.elements(n.args) {
			if p.full {
				break
			}
			l.item(func() { p.value(arg, l.indent) })
		}
	default: // only a strange pickle has something else here
		l.item(func() { p.write("*"); p.value(n.args, l.indent) })
	}
	if n.options.kind != kindMissing {
		l.item(func() { p.write("**"); p.value(n.options, l.indent) })
	}
	for what, vs := range p.m.parts(v) {
		if p.full {
			break
		}
		if what == chunkItems {
			l.item(func() { p.write("items="); p.sequence("[", vs, "]", l.indent) })
		} else {
			p.part(l, what, vs)
		}
	}
	l.end(")")
}

// lines puts the items of a container on lines of their own, or beside each other.
type lines struct {
	p      *printer
	indent int // of the items
	count  int
}

func (p *printer) begin(left string, indent int) *lines {
	p.write(left)
	return &lines{p: p, indent: indent + 1}
}

func (l *lines) item(write func()) {
	switch {
	case !l.p.flat:
		l.newLine(l.indent)
	case l.count > 0:
		l.p.write(", ")
	}
	l.count++
	write()
	if !l.p.flat {
		l.p.write(",")
	}
}

func (l *lines) end(right string) {
	if !l.p.flat && l.count > 0 {
		l.newLine(l.indent - 1)
	}
	l.p.write(right)
}

func (l *lines) newLine(indent int) {
	l.p.write("\n" + strings.Repeat("  ", indent))
}

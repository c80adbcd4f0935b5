package pickle

import (
	"cmp"
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
	t, err := Parse(record, Limits{})
	if err != nil {
		return "", err
	}
	return t.Render(RenderOptions{Limit: limit}).String, nil
}

// RenderOptions of [Tree.Render].
type RenderOptions struct {
	// Limit is about how many bytes the text may have.
	Limit int
	// StringLimit is the number of bytes of a string that are shown; 0 = 240.
	StringLimit int
	// Lines puts each line of a string on a line of its own, as a comparison by lines needs it.
	Lines bool
	// SortSets sorts the elements of sets by their text. Python's order means nothing, and may be
	// another one in each record.
	SortSets bool
}

// Text is a record as a text.
type Text struct {
	String string
	// Links are the references to objects in it, in order.
	Links []Link
	// Cut: the text ends early, at the limit.
	Cut bool
}

// Link is a reference in a [Text].
type Link struct {
	Start, End int // bytes of the text
	Ref        Ref
}

// Render returns the text that [Dump] describes, with the references in it.
func (t *Tree) Render(o RenderOptions) *Text {
	m := &t.m
	p := printer{m: m, o: o, open: make(map[value]bool)}
	if t.class.kind == kindTuple && t.class.n == 2 {
		if args := m.elements(t.class)[1]; args.kind != kindNone {
			p.write("constructor arguments: ")
			p.value(args, 0)
			p.write("\n")
		}
	}
	if module, name, ok := t.Class(); !ok || !p.btree(module, name, t.state) {
		p.value(t.state, 0)
	}
	return &Text{String: p.out.String(), Links: p.links, Cut: p.full}
}

// printer writes values as text.
type printer struct {
	m     *machine
	o     RenderOptions
	out   strings.Builder
	links []Link
	full  bool // the limit was reached
	flat  bool // on one line
	depth int
	open  map[value]bool // containers that are being written
}

// write appends a text, or cuts it off at the limit, once.
func (p *printer) write(s string) {
	if p.full {
		return
	}
	if p.out.Len()+len(s) > p.o.Limit {
		p.cut()
		return
	}
	p.out.WriteString(s)
}

// cut ends the text.
func (p *printer) cut() {
	if !p.full {
		p.full = true
		p.out.WriteString(dumpCut)
	}
}

// link writes a reference.
func (p *printer) link(raw rawRef) {
	start := p.out.Len()
	p.write(p.m.refText(raw))
	if !p.full {
		p.links = append(p.links, Link{Start: start, End: p.out.Len(), Ref: p.m.ref(raw)})
	}
}

// value writes any value; indent is that of the line it begins on.
func (p *printer) value(v value, indent int) {
	switch {
	case p.full:
	case v.kind >= kindTuple && v.kind != kindOpaque && v.kind != kindGlobal && v.kind != kindExt && v.kind != kindRef:
		p.container(v, indent)
	case v.kind == kindRef:
		p.link(p.m.refs[v.off])
	case v.isString() && p.o.Lines && !p.flat:
		p.text(v, indent)
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
	}
	s := p.m.quote(v, p.stringLimit())
	switch {
	case v.kind == kindArray:
		return "bytearray(b" + s + ")"
	case v.isBytes():
		return "b" + s
	}
	return s
}

func (p *printer) stringLimit() int { return cmp.Or(p.o.StringLimit, shownString) }

// text writes a string with a line for each of its lines, if it has several.
func (p *printer) text(v value, indent int) {
	short := v
	limit := p.stringLimit()
	short.n = min(v.n, 10*uint32(limit)) // an escape takes 10 bytes at most
	s := p.m.text(short)
	if first := strings.IndexByte(s, '\n'); first < 0 || first == len(s)-1 || v.kind == kindArray {
		p.write(p.leaf(v))
		return
	}
	rest := ""
	if len(s) > limit {
		s = wholeRunes(s[:limit])
		rest = fmt.Sprintf("%s (%d bytes)", dumpCut, v.n)
	}
	prefix := ""
	if v.isBytes() {
		prefix = "b"
	}
	l := p.begin("(", indent)
	for line := range strings.SplitAfterSeq(s, "\n") {
		if p.full {
			break
		}
		if line != "" {
			l.count++
			l.newLine(l.indent)
			p.write(prefix + "'" + escape(line, v.isBytes()) + "'")
		}
	}
	p.write(rest)
	l.end(")")
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
		line := p.onLine(dumpWidth)
		line.container(v, 0)
		if !line.full {
			p.take(line)
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
		p.set(v, "set([", indent)
	case kindFrozen:
		p.set(v, "frozenset([", indent)
	default:
		p.object(v, indent)
	}
}

// onLine returns a printer for a line of up to limit bytes.
func (p *printer) onLine(limit int) *printer {
	o := p.o
	o.Limit = limit
	return &printer{m: p.m, o: o, flat: true, depth: p.depth, open: p.open}
}

// take writes the text of another printer.
func (p *printer) take(from *printer) {
	start := p.out.Len()
	p.write(from.out.String())
	if p.full {
		return
	}
	for _, l := range from.links {
		p.links = append(p.links, Link{Start: start + l.Start, End: start + l.End, Ref: l.Ref})
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
	if p.date(n, indent) || p.m.chains[v.off].count == 0 && p.oldSet(n, indent) {
		return
	}
	n = p.m.reconstructed(n)
	p.value(n.callee, indent)
	l := p.begin("(", indent)
	switch n.args.kind {
	case kindMissing:
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

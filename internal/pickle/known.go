package pickle

import (
	"fmt"
	"slices"
	"strings"
)

// Objects of well-known classes, which the printer writes as a human would.

// date writes a datetime, date or time object of Python, which pickle their fields as bytes.
func (p *printer) date(n node, indent int) bool {
	module, name, ok := p.m.classNames(n.callee)
	if !ok || module != "datetime" || n.args.kind != kindTuple || n.args.n == 0 || n.args.n > 2 {
		return false
	}
	args := p.m.elements(n.args)
	if !args[0].isString() || args[0].n > 10*10 {
		return false
	}
	b, ok := p.m.appendRaw(nil, args[0])
	if !ok {
		return false
	}
	s := ""
	switch {
	case name == "date" && len(b) == 4:
		s = fmt.Sprintf("datetime.date(%d, %d, %d", year(b), b[2], b[3])
	case name == "datetime" && len(b) == 10:
		s = fmt.Sprintf("datetime.datetime(%d, %d, %d, %d, %d, %d", year(b), b[2]&0x7f, b[3], b[4], b[5], b[6]) + micros(b[7:])
	case name == "time" && len(b) == 6:
		s = fmt.Sprintf("datetime.time(%d, %d, %d", b[0]&0x7f, b[1], b[2]) + micros(b[3:])
	default:
		return false
	}
	p.write(s)
	if len(args) == 2 {
		p.write(", tzinfo=")
		p.value(args[1], indent)
	}
	p.write(")")
	return true
}

func year(b []byte) int { return int(b[0])<<8 | int(b[1]) }

func micros(b []byte) string {
	if n := int(b[0])<<16 | int(b[1])<<8 | int(b[2]); n != 0 {
		return fmt.Sprintf(", %d", n)
	}
	return ""
}

// reconstructed returns copy_reg._reconstructor(class, object, None), the form of the first
// protocols, as a call of the class without arguments.
func (m *machine) reconstructed(n node) node {
	module, name, ok := m.classNames(n.callee)
	if !ok || !isReconstructor(module, name) || name != "_reconstructor" || n.args.kind != kindTuple || n.args.n != 3 {
		return n
	}
	args := m.elements(n.args)
	_, base, ok := m.classNames(args[1])
	if !ok || base != "object" || args[2].kind != kindNone || args[0].kind != kindGlobal {
		return n
	}
	n.callee, n.args = args[0], value{}
	return n
}

// oldSet writes a set of a protocol that has no opcode for it, if its elements are to be sorted.
func (p *printer) oldSet(n node, indent int) bool {
	if !p.o.SortSets || n.args.kind != kindTuple || n.args.n != 1 {
		return false
	}
	module, name, ok := p.m.classNames(n.callee)
	if !ok || module != "__builtin__" && module != "builtins" || name != "set" && name != "frozenset" {
		return false
	}
	list := p.m.elements(n.args)[0]
	if list.kind != kindList {
		return false
	}
	p.set(list, name+"([", indent)
	return true
}

// set writes the elements of a set.
func (p *printer) set(v value, left string, indent int) {
	if !p.o.SortSets {
		p.parts(v, left, "])", indent)
		return
	}
	var texts []string
	bytes := 0
	for _, vs := range p.m.parts(v) {
		for _, v := range vs {
			line := p.onLine(p.o.Limit)
			line.value(v, 0)
			texts = append(texts, line.out.String())
			// What one element cuts off cuts off the whole: sets within sets would double the work with
			// each step otherwise, for a text that stays short.
			if bytes += len(texts[len(texts)-1]); line.full || bytes > p.o.Limit {
				p.write(left)
				p.cut()
				return
			}
		}
	}
	slices.Sort(texts)
	l := p.begin(left, indent)
	for _, s := range texts {
		l.item(func() { p.write(s) })
	}
	l.end("])")
}

// btree writes the state of an object of package BTrees, or reports that it has no form of theirs:
//
//	None                                          nothing
//	((key, value, …),), ((key, value, …), next)   a bucket; a set has keys alone
//	((((key, value, …),),),)                      a tree that has one bucket, inside
//	((child, key, child, …), bucket)              a tree, and its first bucket
func (p *printer) btree(module, name string, state value) bool {
	if !strings.HasPrefix(module, "BTrees.") {
		return false
	}
	set := strings.HasSuffix(name, "Set")
	if state.kind == kindNone {
		p.write(escape(name, false) + "()")
		return true
	}
	if state.kind != kindTuple || state.n == 0 || state.n > 2 {
		return false
	}
	parts := p.m.elements(state)
	if strings.HasSuffix(name, "BTree") || strings.HasSuffix(name, "TreeSet") {
		if state.n == 2 {
			return p.children(name, parts)
		}
		for range 2 { // the state of the bucket is in a tuple of its own
			if parts[0].kind != kindTuple || parts[0].n != 1 {
				return false
			}
			parts = p.m.elements(parts[0])
		}
		return p.bucket(name, parts, set)
	}
	return p.bucket(name, parts, set)
}

// bucket writes the items of a bucket, and the bucket after it.
func (p *printer) bucket(name string, parts []value, set bool) bool {
	items := parts[0]
	if items.kind != kindTuple || !set && items.n%2 != 0 {
		return false
	}
	left, right, step := "({", "})", 2
	if set {
		left, right, step = "([", "])", 1
	}
	vs := p.m.elements(items)
	l := p.begin(escape(name, false)+left, 0)
	for i := 0; i < len(vs) && !p.full; i += step {
		l.item(func() {
			if !set {
				p.value(vs[i], l.indent)
				p.write(": ")
			}
			p.value(vs[i+step-1], l.indent)
		})
	}
	l.end(right)
	if len(parts) == 2 {
		p.write("\nnext bucket: ")
		p.value(parts[1], 0)
	}
	return true
}

// children writes the inner node of a tree: each child with the key from which on it has the keys.
func (p *printer) children(name string, parts []value) bool {
	if parts[0].kind != kindTuple || parts[0].n%2 != 1 {
		return false
	}
	vs := p.m.elements(parts[0])
	l := p.begin(escape(name, false)+"([", 0)
	for i := 0; i < len(vs) && !p.full; i += 2 {
		l.item(func() {
			if i > 0 {
				p.write("from ")
				p.value(vs[i-1], l.indent)
				p.write(": ")
			}
			p.value(vs[i], l.indent)
		})
	}
	l.end("])")
	p.write("\nfirst bucket: ")
	p.value(parts[1], 0)
	return true
}

package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// Place is the end of a path of names that begins at the root object.
type Place struct {
	// OID is the last object on the way.
	OID zodb.OID
	// Steps are the objects on the way, the root object first.
	Steps []Step
	// Inside is the value that the names lead to within the record of that object, as text; empty: they
	// lead to the object itself.
	Inside string
	// Missing is the name that was not found; Names are some that are there. Why says more.
	Missing string
	Names   []string
	Why     string
}

// ErrLongPath is matched by the error for a path of too many names.
var ErrLongPath = errors.New("a path")

// Step is an object on a path.
type Step struct {
	Name string // by which the one before has it; empty for the root object
	OID  zodb.OID
}

// Bounds of a search by path.
const (
	maxSteps  = 100
	maxNames  = 60
	maxDepth  = 64  // of a BTree
	labelSize = 200 // of a value inside a record
)

// Resolve follows the names of a path, /Plone/news, from the root object. In each object a name is
// looked for in these places: the keys of a mapping of package BTrees; the keys of the dictionary
// inside a PersistentMapping, which the root object is; the attributes; and the keys of the BTree or
// mapping in the attributes data, _container and _tree, where folders of Zope have their items. Keys
// are texts, or integers of BTrees of integers.
func (b *Browser) Resolve(ctx context.Context, path string) (*Place, error) {
	p := &Place{Steps: []Step{{}}}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" {
			names = append(names, name)
		}
	}
	if len(names) > maxSteps {
		return nil, fmt.Errorf("%w of %d names; at most %d are followed", ErrLongPath, len(names), maxSteps)
	}
	for len(names) > 0 {
		n, err := b.step(ctx, p, names)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return p, nil
		}
		names = names[n:]
	}
	return p, nil
}

// step follows one name, and those inside of the same record. It returns how many; 0: the path ends.
func (b *Browser) step(ctx context.Context, p *Place, names []string) (followed int, err error) {
	s := &search{b: b, ctx: ctx, name: names[0]}
	ref, inside, err := s.object(p.OID, names[1:])
	switch {
	case err != nil:
		return 0, err
	case ref != nil && ref.Database != "":
		p.Missing, p.Why = names[0], fmt.Sprintf("it is object %s of database %q", ref.OID, ref.Database)
		return 0, nil
	case ref != nil:
		followed = 1 + s.deeper
		p.OID = ref.OID
		p.Steps = append(p.Steps, Step{strings.Join(names[:followed], "/"), ref.OID})
		return followed, nil
	case inside != "":
		p.Inside = inside
		return 0, nil
	}
	p.Missing, p.Names, p.Why = s.name, s.names, s.why
	return 0, nil
}

// search looks for a name in one object, and the mappings that hold its items.
type search struct {
	b     *Browser
	ctx   context.Context
	name  string
	names []string // that are there
	why   string
	// deeper is how many further names led on inside the record.
	deeper int
}

// object looks into the current revision of an object. further are the names after this one: they are
// followed as long as the values are inside the record.
func (s *search) object(oid zodb.OID, further []string) (ref *pickle.Ref, inside string, err error) {
	var next *zodb.OID
	err = s.decode(oid, func(t *pickle.Tree) error {
		v, found, child := s.in(t)
		switch {
		case !found && child != nil:
			next = child
		case found:
			ref, inside = s.follow(v, further)
		}
		return nil
	})
	if err != nil || next == nil {
		return ref, inside, err
	}
	v, err := s.mapping(*next, further)
	if v == nil || err != nil {
		return nil, "", err
	}
	return v.ref, v.inside, nil
}

// hit is the result of a search in a mapping.
type hit struct {
	ref    *pickle.Ref
	inside string
}

// mapping looks into an object that holds the items of another one: the nodes of a BTree, or a
// PersistentMapping.
func (s *search) mapping(oid zodb.OID, further []string) (found *hit, err error) {
	for range maxDepth {
		var next *zodb.OID
		err := s.decode(oid, func(t *pickle.Tree) error {
			v, ok, child := s.in(t)
			if ok {
				found = &hit{}
				found.ref, found.inside = s.follow(v, further)
				return nil
			}
			next = child
			return nil
		})
		if err != nil || found != nil || next == nil {
			return found, err
		}
		oid = *next
	}
	s.why = fmt.Sprintf("its BTree is deeper than %d", maxDepth)
	return nil, nil
}

// decode decodes the current revision of an object. That there is none is not an error.
func (s *search) decode(oid zodb.OID, use func(*pickle.Tree) error) error {
	rev, reason, err := s.b.current(s.ctx, oid)
	if err != nil {
		return err
	}
	if reason != "" {
		s.why = fmt.Sprintf("object %s does not exist: %s", oid, reason)
		return nil
	}
	var inner error
	err = s.b.parse(s.ctx, rev.Data, func(t *pickle.Tree) { inner = use(t) })
	switch {
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case err != nil:
		s.why = fmt.Sprintf("object %s cannot be decoded: %v", oid, err)
		return nil
	}
	return inner
}

// follow goes on with further names inside a record.
func (s *search) follow(v pickle.Value, further []string) (ref *pickle.Ref, inside string) {
	for {
		if r, ok := v.Ref(); ok {
			return &r, ""
		}
		if len(further) == s.deeper {
			return nil, v.Label(labelSize)
		}
		s.name = further[s.deeper]
		s.names = nil
		next, ok := s.within(v)
		if !ok {
			s.why = "the value before it is inside a record, and has no such item"
			return nil, ""
		}
		v = next
		s.deeper++
	}
}

// in looks for the name in the state of an object. child is where to look next.
func (s *search) in(t *pickle.Tree) (v pickle.Value, found bool, child *zodb.OID) {
	module, name, _ := t.Class()
	if strings.HasPrefix(module, "BTrees.") {
		return s.node(name, t.State())
	}
	state := t.State()
	if n, ok := state.Tuple(); ok && n == 2 { // attributes, and those of slots
		if v, found = s.within(state.Element(1)); found {
			return v, true, nil
		}
		state = state.Element(0)
	}
	if v, found = s.within(state); found {
		return v, true, nil
	}
	for _, holder := range []string{"data", "_container", "_tree"} {
		for k, v := range state.Pairs() {
			if text, ok := k.Text(); !ok || text != holder {
				continue
			}
			if r, ok := v.Ref(); ok && r.Strong() {
				return v, false, &r.OID
			}
			if v, found = s.within(v); found {
				return v, true, nil
			}
		}
	}
	return v, false, nil
}

// within looks for the name among the keys of a dictionary or the attributes of an object.
func (s *search) within(v pickle.Value) (_ pickle.Value, found bool) {
	for k, item := range v.Pairs() {
		text, ok := k.Text()
		if ok && text == s.name {
			return item, true
		}
		if ok {
			s.there(text)
		}
	}
	if inner, ok := v.Inner(); ok {
		for k, item := range inner.Pairs() {
			if text, ok := k.Text(); ok && text == s.name {
				return item, true
			} else if ok {
				s.there(text)
			}
		}
	}
	return v, false
}

func (s *search) there(name string) {
	if len(s.names) < maxNames {
		s.names = append(s.names, name)
	}
}

// node looks into a node of a BTree; the forms are those of pickle's printer.
func (s *search) node(class string, state pickle.Value) (v pickle.Value, found bool, child *zodb.OID) {
	n, ok := state.Tuple()
	if !ok || n == 0 || n > 2 {
		return v, false, nil
	}
	first := state.Element(0)
	count, ok := first.Tuple()
	if !ok {
		return v, false, nil
	}
	tree := strings.HasSuffix(class, "BTree") || strings.HasSuffix(class, "TreeSet")
	if tree && n == 2 {
		return s.inner(first, count)
	}
	if tree {
		for range 2 { // the state of the only bucket, and the items in it
			if count != 1 {
				return v, false, nil
			}
			first = first.Element(0)
			if count, ok = first.Tuple(); !ok {
				return v, false, nil
			}
		}
	}
	step := 2
	if strings.HasSuffix(class, "Set") {
		step = 1
	}
	for i := 0; i+step <= count; i += step {
		key := first.Element(i)
		text, ok := keyText(key)
		if ok && text == s.name {
			return first.Element(i + step - 1), true, nil
		}
		if ok {
			s.there(text)
		}
	}
	return v, false, nil
}

// inner chooses the child that has the name.
func (s *search) inner(children pickle.Value, count int) (v pickle.Value, found bool, child *zodb.OID) {
	at := 0
	for i := 1; i+1 < count; i += 2 {
		below, ok := keyAbove(children.Element(i), s.name)
		if !ok {
			s.why = "the keys of its BTree are neither texts nor integers"
			return v, false, nil
		}
		if below {
			break
		}
		at = i + 1
	}
	if at >= count {
		return v, false, nil
	}
	if r, ok := children.Element(at).Ref(); ok && r.Strong() {
		return v, false, &r.OID
	}
	return v, false, nil
}

// keyText returns a key as it stands in a path.
func keyText(key pickle.Value) (string, bool) {
	if text, ok := key.Text(); ok {
		return text, true
	}
	_, ok := key.Integer()
	return key.Label(labelSize), ok
}

// keyAbove reports whether a key is greater than a name, as the BTree sorts them.
func keyAbove(key pickle.Value, name string) (above, ok bool) {
	if text, ok := key.Text(); ok {
		return text > name, true
	}
	n, ok := key.Integer()
	if !ok {
		return false, false
	}
	var wanted int64
	if _, err := fmt.Sscan(name, &wanted); err != nil {
		return false, true // no integer: it is in no child
	}
	return n > wanted, true
}

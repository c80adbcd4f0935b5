package storetest

import (
	"context"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// SetPacked implements [store.Packer].
func (m *Memory) SetPacked(tid zodb.TID) error { return m.set(store.A, layout.XPacked, uint64(tid)) }

// Remove implements [store.Packer].
func (m *Memory) Remove(stamp int64, r store.Removal) (n store.Counts, err error) {
	var names []layout.Name
	for _, oid := range r.Objects {
		names = append(names, layout.Object(oid))
	}
	for _, e := range r.Revisions {
		for _, tid := range e.TIDs {
			names = append(names, layout.Revision(e.OID, tid), layout.Blob(e.OID, tid))
		}
	}
	for _, tid := range r.Transactions {
		names = append(names, layout.Transaction(tid))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		data, there := m.sides[store.A][name]
		size, blob := m.blobs[name]
		if !there && !blob {
			continue
		}
		count(&n, name, int64(len(data)), size)
		delete(m.sides[store.A], name)
		delete(m.blobs, name)
		if stamp != 0 {
			m.aside = append(m.aside, removed{stamp, name, data, size})
		}
	}
	return n, nil
}

// Relink implements [store.Packer].
func (m *Memory) Relink(links []store.Link) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range links {
		n := layout.Transaction(l.TID)
		data, err := m.get(n)
		if err != nil {
			return err
		}
		t, err := record.ParseTransaction(data, m.Place(n), false)
		if err != nil {
			return err
		}
		t.Previous = l.Previous
		if m.sides[store.A][n], err = t.Append(nil, record.SumKindOf(data)); err != nil {
			return err
		}
	}
	return nil
}

// BringBack implements [store.Packer].
func (m *Memory) BringBack(stamp int64) store.Restorer { return memoryRestorer{m, stamp} }

type memoryRestorer struct {
	m     *Memory
	stamp int64
}

// Close implements [store.Restorer].
func (r memoryRestorer) Close() {}

// Step implements [store.Restorer]: all at once, the last removed first.
func (r memoryRestorer) Step(_ int, begins func() error) (n store.Restored, err error) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	n.Pointing, n.Done = true, true
	wanted := make(map[layout.Name]bool)
	for _, a := range r.m.aside {
		if r.stamp == 0 || r.stamp == a.stamp {
			r.m.companions(a.name, wanted)
		}
	}
	var left []removed
	for _, a := range slices.Backward(r.m.aside) {
		if !wanted[a.name] {
			left = append(left, a)
			continue
		}
		if err := begins(); err != nil {
			return store.Restored{}, err
		}
		n.Seen++
		if r.m.there(a.name) {
			n.Skipped++
			left = append(left, a)
			continue
		}
		count(&n.Counts, a.name, int64(len(a.data)), a.size)
		if a.name.Kind == layout.KindBlob {
			r.m.blobs[a.name] = a.size
		} else {
			r.m.sides[store.A][a.name] = a.data
		}
	}
	slices.Reverse(left)
	r.m.aside = left
	return n, nil
}

// companions notes a name, and all that has to come back with it. mu must be held.
func (m *Memory) companions(name layout.Name, wanted map[layout.Name]bool) {
	if name.Kind == layout.KindTransaction {
		wanted[name] = true
		return
	}
	object := layout.Object(name.OID)
	current, found := m.sides[store.A][object]
	for _, a := range slices.Backward(m.aside) {
		if !found && a.name == object {
			current, found = a.data, true
		}
	}
	if !found {
		return // it is gone for good
	}
	serial, _ := record.ParseX(current, "") // which set made
	for _, tid := range []zodb.TID{name.TID, zodb.TID(serial)} {
		for _, n := range []layout.Name{object, layout.Revision(name.OID, tid), layout.Blob(name.OID, tid), layout.Transaction(tid)} {
			wanted[n] = wanted[n] || !m.there(n)
		}
	}
}

// there reports whether a name is in A. mu must be held.
func (m *Memory) there(n layout.Name) bool {
	_, there := m.sides[store.A][n]
	_, blob := m.blobs[n]
	return there || blob
}

// BroughtBack implements [store.Packer].
func (m *Memory) BroughtBack(ctx context.Context) iter.Seq2[zodb.TID, error] {
	return func(yield func(zodb.TID, error) bool) {
		for n, err := range m.Names(ctx, layout.KindTransaction) {
			if !yield(n.TID, err) {
				return
			}
		}
	}
}

// Purge implements [store.Packer].
func (m *Memory) Purge(before int64) store.Purger { return memoryPurger{m, before} }

type memoryPurger struct {
	m      *Memory
	before int64
}

// Close implements [store.Purger].
func (p memoryPurger) Close() {}

// Step implements [store.Purger].
func (p memoryPurger) Step(int) (n store.Occupied, done bool, err error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	was := len(p.m.aside)
	p.m.aside = slices.DeleteFunc(p.m.aside, func(a removed) bool { return a.stamp < p.before })
	return store.Occupied{Files: int64(was - len(p.m.aside))}, true, nil
}

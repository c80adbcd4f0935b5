package storetest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// contents is a set of database names with the contents that a store has to have for them.
type contents struct {
	last     zodb.TID
	text     map[layout.Name][]byte // revisions and transactions; of blobs the content, too
	previous map[zodb.TID]zodb.TID  // of transactions
	current  map[zodb.OID]zodb.TID
}

// contentsOf returns the contents after transactions, up to one of them.
func contentsOf(all []store.Transaction, last zodb.TID) (c contents, err error) {
	c = contents{text: make(map[layout.Name][]byte), previous: make(map[zodb.TID]zodb.TID), current: make(map[zodb.OID]zodb.TID)}
	for _, x := range all {
		if x.TID() > last {
			break
		}
		c.last = x.TID()
		c.previous[x.TID()] = x.(*Txn).Previous
		if c.text[layout.Transaction(x.TID())], err = x.AppendTransaction(nil); err != nil {
			return c, err
		}
		for i := range x.Len() {
			r := x.Revision(i)
			if c.text[layout.Revision(r.OID, x.TID())], err = x.AppendRevision(nil, i); err != nil {
				return c, err
			}
			if r.Blob != "" {
				c.text[layout.Blob(r.OID, x.TID())] = []byte(r.Blob)
			}
			c.current[r.OID] = x.TID()
		}
	}
	return c, nil
}

// removed takes away the names of a removal, and reports them.
func (c *contents) removed(r store.Removal) (gone map[layout.Name][]byte) {
	gone = make(map[layout.Name][]byte)
	take := func(n layout.Name) {
		if text, ok := c.text[n]; ok {
			gone[n] = text
			delete(c.text, n)
		}
	}
	for _, oid := range r.Objects {
		delete(c.current, oid)
	}
	for _, e := range r.Revisions {
		for _, tid := range e.TIDs {
			take(layout.Revision(e.OID, tid))
			take(layout.Blob(e.OID, tid))
		}
	}
	for _, tid := range r.Transactions {
		take(layout.Transaction(tid))
	}
	return gone
}

// relinked makes transactions name others.
func (c *contents) relinked(links []store.Link) error {
	for _, l := range links {
		t, err := record.ParseTransaction(c.text[layout.Transaction(l.TID)], "", true)
		if err != nil {
			return err
		}
		t.Previous = l.Previous
		if c.text[layout.Transaction(l.TID)], err = t.Append(nil, record.SumKindOf(c.text[layout.Transaction(l.TID)])); err != nil {
			return err
		}
		c.previous[l.TID] = l.Previous
	}
	return nil
}

// get returns a content, that of a blob as well.
func get(s store.Store, n layout.Name) ([]byte, error) {
	if n.Kind != layout.KindBlob {
		data, _, err := s.Get(n)
		return data, err
	}
	f, _, err := s.OpenBlob(n.OID, n.TID)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}

// has compares one content.
func has(s store.Store, n layout.Name, want []byte) error {
	got, err := get(s, n)
	if err != nil || string(got) != string(want) {
		return fmt.Errorf("%s in %s has %d bytes, want %d: %w", n, s.Place(n), len(got), len(want), errors.Join(err, errContent))
	}
	if size, err := s.Stat(n); err != nil || size != int64(len(want)) {
		return fmt.Errorf("%s is said to have %d bytes, want %d: %w", n, size, len(want), errors.Join(err, errContent))
	}
	return nil
}

var errContent = errors.New("it is not the content that it should be")

// hasNot wants a name not to be there.
func hasNot(s store.Store, n layout.Name) error {
	if _, err := get(s, n); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there still: %w", n, errors.Join(err, errContent))
	}
	return nil
}

// all wants every name to be there. A transaction may name the one before it that it named at
// first, unless strict.
func (c *contents) all(s store.Store, strict bool) error {
	for n, want := range c.text {
		err := has(s, n, want)
		if err != nil && !strict && n.Kind == layout.KindTransaction {
			err = c.transaction(s, n.TID)
		}
		if err != nil {
			return err
		}
	}
	for oid, want := range c.current {
		r, err := s.Load(oid)
		if err != nil || r.Serial != want || string(r.Data) != string(c.text[layout.Revision(oid, want)]) {
			return fmt.Errorf("the current revision of %s is %s, want %s: %w", oid, r.Serial, want, errors.Join(err, errContent))
		}
	}
	return nil
}

// transaction compares one, but for the one before.
func (c *contents) transaction(s store.Store, tid zodb.TID) error {
	data, place, err := s.Get(layout.Transaction(tid))
	if err != nil {
		return err
	}
	got, err := record.ParseTransactionAs(data, place, tid, true)
	if err != nil {
		return err
	}
	want, err := record.ParseTransaction(c.text[layout.Transaction(tid)], "", true)
	if err == nil && fmt.Sprint(got.OIDs) != fmt.Sprint(want.OIDs) {
		err = fmt.Errorf("%s: %w", place, errContent)
	}
	return err
}

// whole wants nothing that is there to name something that is gone: the transactions
// lead from the last one to the first, each object that has a current revision can be loaded,
// and each revision of which the blob is given has it.
func whole(s store.Store, last zodb.TID, blobs map[layout.Name][]byte) error {
	for tid := last; tid != 0; {
		data, place, err := s.Get(layout.Transaction(tid))
		if err != nil {
			return fmt.Errorf("the chain of transactions is broken: %w", err)
		}
		t, err := record.ParseTransactionAs(data, place, tid, true)
		if err != nil {
			return err
		}
		tid = t.Previous
	}
	for oid := range zodb.OID(5) {
		if _, err := s.Load(oid); err != nil && !errors.Is(err, zodb.ErrNotFound) {
			return fmt.Errorf("object %s: %w", oid, err)
		}
	}
	for n := range blobs {
		if n.Kind != layout.KindBlob {
			continue
		}
		if _, _, err := s.Get(layout.Revision(n.OID, n.TID)); err == nil {
			if _, err := get(s, n); err != nil {
				return fmt.Errorf("a revision is there without its blob: %w", err)
			}
		}
	}
	return nil
}

// wholeObjects wants each revision that is there to have its blob, and its object to have a current revision.
func wholeObjects(s store.Store, full contents) error {
	for n := range full.text {
		if n.Kind != layout.KindRevision || hasNot(s, n) == nil {
			continue
		}
		if _, err := s.Load(n.OID); err != nil {
			return fmt.Errorf("%s is there, and its object cannot be loaded: %w", n, err)
		}
		blob := layout.Blob(n.OID, n.TID)
		if want, ok := full.text[blob]; ok {
			if err := has(s, blob, want); err != nil {
				return err
			}
		}
	}
	for oid := range full.current {
		if _, err := s.Load(oid); err != nil && !errors.Is(err, zodb.ErrNotFound) {
			return fmt.Errorf("object %s: %w", oid, err)
		}
	}
	return nil
}

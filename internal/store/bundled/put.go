package bundled

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/zodb"
)

// Put implements [store.Writer]: the blobs, then one bundle with all transactions that no bundle
// has. Transactions that an earlier attempt put are passed over, and become durable.
func (s *Store) Put(side store.Side, batch []store.Transaction, p *store.Progress) error {
	if side == store.B {
		s.files.UseB()
	}
	if err := s.sure(); err != nil {
		return err
	}
	work := 0
	for _, c := range batch {
		work += 1 + c.Len()
	}
	p.Expect(int64(work))
	b := s.files.NewRedo(side, work)
	for _, c := range batch {
		if err := adopt(b, c); err != nil {
			return err
		}
	}
	last := s.now.last()
	todo := batch
	for len(todo) > 0 && todo[0].TID() <= last {
		if err := s.isThere(todo[0]); err != nil {
			return err
		}
		todo = todo[1:]
	}
	highest := batch[len(batch)-1].HighestOID()
	if len(todo) > 0 {
		s.unsure = true
		if err := s.putBundle(side, todo, last, highest, p); err != nil {
			return err
		}
	}
	if err := b.HighestOID(record.AppendX(nil, uint64(highest))); err != nil {
		return err
	}
	if err := b.Sync(); err != nil {
		return err
	}
	if len(todo) > 0 {
		return s.reload()
	}
	return nil
}

// isThere returns an error unless a bundle has a transaction, which is in the range of one or
// before: a bundle behind x.serial that is of another log has others. The kind of checksum may
// differ: an earlier build may have put it, or config/settings was changed.
func (s *Store) isThere(c store.Transaction) error {
	n := layout.Transaction(c.TID())
	was, place, err := s.Get(n)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	is, aerr := c.AppendTransaction(nil)
	if aerr != nil {
		return aerr
	}
	if err != nil || !record.Same(withoutPrevious(was), withoutPrevious(is)) {
		return &zodb.CorruptError{Path: place, TID: c.TID(), Reason: fmt.Sprintf("the log has this transaction, and the bundles, which go up to %s, lack it or hold another one: "+
			"the log or x.serial is of another storage than the bundles", s.now.last()), Err: err}
	}
	return nil
}

// withoutPrevious returns the part of a transaction that is the same in each copy of it.
func withoutPrevious(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) >= previousAt+8 {
		clear(b[previousAt:][:8])
	}
	return b
}

// adopt moves the blobs of a transaction.
func adopt(b *classic.Redo, c store.Transaction) error {
	for i := range c.Len() {
		if r := c.Revision(i); r.Blob != "" {
			if err := b.Adopt(layout.Blob(r.OID, c.TID()), r.Blob, r.BlobSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// putBundle writes a bundle behind a transaction.
func (s *Store) putBundle(side store.Side, batch []store.Transaction, previous zodb.TID, highest zodb.OID, p *store.Progress) error {
	n := bundle.Name{Min: batch[0].TID(), Max: batch[len(batch)-1].TID()}
	return s.files.PutBeside(dirOf(side)+"/"+n.String(), func(w io.Writer) error {
		out, err := bundle.NewWriter(w, bundle.Options{Identity: s.o.Identity, Min: n.Min, Max: n.Max, Previous: previous, HighestOID: highest, Workers: workers()})
		if err != nil {
			return err
		}
		defer out.Abort()
		var buf []byte
		for _, c := range batch {
			if buf, err = addTransaction(out, buf, c); err != nil {
				return err
			}
			p.Add(int64(1 + c.Len()))
		}
		_, err = out.Close()
		return err
	})
}

// workers is how many frames are compressed at a time: the other processors are left to those
// who commit and read.
func workers() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// addTransaction adds the revisions of a transaction, then the transaction. It makes sure that
// each content has the name under which it is put: nothing could find it otherwise.
func addTransaction(out *bundle.Writer, buf []byte, c store.Transaction) ([]byte, error) {
	var err error
	for i := range c.Len() {
		r := c.Revision(i)
		if buf, err = c.AppendRevision(buf[:0], i); err != nil {
			return buf, err
		}
		n := layout.Revision(r.OID, c.TID())
		o, err := record.ParseObjectAs(buf, n.String(), r.OID, c.TID(), false)
		if err != nil {
			return buf, err
		}
		if err := out.Revision(r.OID, c.TID(), flagsOf(o), buf); err != nil {
			return buf, err
		}
	}
	if buf, err = c.AppendTransaction(buf[:0]); err != nil {
		return buf, err
	}
	t, err := record.ParseTransactionAs(buf, layout.Transaction(c.TID()).String(), c.TID(), false)
	if err != nil {
		return buf, err
	}
	var flags uint16
	if t.Packed {
		flags = bundle.FlagPacked
	}
	return buf, out.Transaction(c.TID(), flags, buf)
}

// flagsOf returns the flags that the index has for a revision.
func flagsOf(o *record.Object) (flags uint16) {
	if o.Gone() {
		flags |= bundle.FlagGone
	}
	if o.HasBlob() {
		flags |= bundle.FlagBlob
	}
	if o.UndoFrom != 0 {
		flags |= bundle.FlagUndo
	}
	return flags
}

// errNotPut is SetLast of a transaction that is not there.
var errNotPut = errors.New("no bundle has it")

// SetLast implements [store.Writer].
func (s *Store) SetLast(side store.Side, tid zodb.TID) error {
	if err := s.sure(); err != nil {
		return err
	}
	if last := s.now.last(); tid > last {
		return fmt.Errorf("transaction %s: %w; the last one is %s", tid, errNotPut, last)
	}
	return s.files.SetLast(side, tid)
}

// SumKind implements [store.Writer]. No other program reads bundles, so it is the fast one.
func (s *Store) SumKind() record.SumKind { return record.XXH64 }

// Failure implements [store.Writer].
func (s *Store) Failure() error { return s.files.Failure() }

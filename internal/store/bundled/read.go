package bundled

import (
	"bytes"
	"encoding/binary"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// frameBuffers are used for one frame.
type frameBuffers struct{ packed, plain []byte }

// keptBuffer is the largest buffer that is used again. A larger frame holds one member.
const keptBuffer = 256 << 10

// read returns the content of a member. Nobody else uses the result.
func (s *Store) read(p *part, at bundle.Place, n layout.Name) ([]byte, error) {
	f, err := p.Frame(at.Frame)
	if err != nil {
		return nil, err
	}
	cached, wanted := s.cached.get(p.opened, f.Offset)
	if cached != nil {
		content, err := p.Member(cached, at, n)
		return bytes.Clone(content), err
	}
	buf := s.buffers.Get().(*frameBuffers)
	defer s.buffers.Put(buf)
	packed, err := p.ReadPacked(f, buf.packed)
	if err != nil {
		return nil, err
	}
	plain, err := p.Decode(f, packed, buf.plain)
	if err != nil {
		return nil, err
	}
	content, err := p.Member(plain, at, n)
	if err != nil {
		return nil, err
	}
	if wanted {
		s.cached.put(p.opened, f.Offset, plain)
	}
	if cap(packed) <= keptBuffer {
		buf.packed = packed
	}
	if cap(plain) > keptBuffer {
		return content, nil
	}
	buf.plain = plain
	return bytes.Clone(content), nil
}

func missing(n layout.Name, place string) error {
	return &fs.PathError{Op: "get", Path: place + ":" + n.String(), Err: fs.ErrNotExist}
}

// isFile reports whether a name is a file beside the bundles.
func isFile(n layout.Name) bool {
	return n.Kind != layout.KindRevision && n.Kind != layout.KindTransaction
}

// Get implements [store.Reader]. The place of a member is the path of its bundle, relative to
// HOME.
func (s *Store) Get(n layout.Name) (data []byte, place string, err error) {
	if isFile(n) {
		return s.files.Get(n)
	}
	v, err := s.get()
	if err != nil {
		return nil, s.Place(n), err
	}
	defer v.release()
	place = v.place(n)
	p, at, err := v.locate(n)
	if err == nil {
		data, err = s.read(p, at, n)
	}
	if err == nil && n.Kind == layout.KindTransaction {
		err = v.relink(data, n.TID)
	}
	if err != nil {
		return nil, place, err
	}
	return data, place, nil
}

// previousAt is where a transaction names the one before. No checksum covers that.
const previousAt = 24

// relink makes a transaction name one that is there, if packs have removed those between. If the
// transaction that the file names was never removed, the name stays, although it may be missing.
func (v *view) relink(b []byte, tid zodb.TID) error {
	if len(b) < previousAt+8 {
		return nil // a read of it reports the error
	}
	previous := zodb.TIDFromBytes(b[previousAt:])
	if previous == 0 || previous >= tid || v.of(previous) < 0 {
		return nil
	}
	_, _, number, err := v.transaction(previous)
	if err != nil || number >= 0 {
		return err
	}
	older, err := v.olderTransaction(tid)
	if err == nil {
		binary.BigEndian.PutUint64(b[previousAt:], uint64(older))
	}
	return err
}

// olderTransaction returns the newest transaction before one; 0: there is none. Where a bundle
// is lost it is the last one that was in it.
func (v *view) olderTransaction(tid zodb.TID) (zodb.TID, error) {
	for i := v.upTo(tid-1) - 1; i >= 0; i-- {
		p := &v.parts[i]
		for before := tid - 1; before >= p.name.Min; {
			e, number, err := p.LatestTransaction(before)
			if err != nil {
				return 0, err
			}
			if number < 0 {
				break
			}
			if !p.gone.Has(p.member(number)) {
				return e.TID, nil
			}
			before = e.TID - 1
		}
		if v.gapBelow(i) {
			return p.Previous, nil
		}
	}
	return 0, nil
}

// Stat implements [store.Reader]: the index knows the length.
func (s *Store) Stat(n layout.Name) (int64, error) {
	if isFile(n) {
		return s.files.Stat(n)
	}
	v, err := s.get()
	if err != nil {
		return 0, err
	}
	defer v.release()
	_, at, err := v.locate(n)
	return int64(at.Length), err
}

// currentOf returns the current revision of an object: that which the table names, or else the
// indexes of all bundles; number -1: it has none.
func (s *Store) currentOf(v *view, oid zodb.OID) (p *part, e bundle.Revision, number int64, err error) {
	slot, known := s.table.Load().look(v, oid)
	if !known {
		return v.current(oid)
	}
	if slot.TID == 0 {
		return nil, e, -1, nil
	}
	if p, e, number, err = v.find(oid, slot.TID); err != nil || number >= 0 {
		return p, e, number, err
	}
	return v.current(oid)
}

// Current implements [store.Reader].
func (s *Store) Current(oid zodb.OID) (zodb.TID, error) {
	v, err := s.get()
	if err != nil {
		return 0, err
	}
	defer v.release()
	if slot, known := s.table.Load().look(v, oid); known && slot.TID != 0 && slot.Flags&current.Removed == 0 && v.hasPlace(slot) {
		return slot.TID, nil
	}
	_, e, number, err := s.currentOf(v, oid)
	if err == nil && number < 0 {
		err = &zodb.KeyError{OID: oid}
	}
	if err != nil {
		return 0, err
	}
	return e.TID, nil
}

// hasPlace reports whether a slot names a bundle that counts.
func (v *view) hasPlace(slot current.Slot) bool {
	i := v.of(slot.TID)
	return i >= 0 && v.parts[i].short == slot.Bundle
}

// Load implements [store.Reader].
func (s *Store) Load(oid zodb.OID) (store.Record, error) {
	v, err := s.get()
	if err != nil {
		return store.Record{}, err
	}
	defer v.release()
	if slot, known := s.table.Load().look(v, oid); known && slot.TID != 0 && slot.Flags&current.Removed == 0 && slot.Size > 0 && v.hasPlace(slot) {
		p := &v.parts[v.of(slot.TID)]
		n := layout.Revision(oid, slot.TID)
		if data, err := s.readPlace(p, slot, n); err == nil {
			return store.Record{Data: data, Place: p.path, Serial: slot.TID}, nil
		}
		// The place may be wrong, or the disk: the index tells.
	}
	p, e, number, err := s.currentOf(v, oid)
	if err == nil && number < 0 {
		err = &zodb.KeyError{OID: oid}
	}
	if err != nil {
		return store.Record{}, err
	}
	data, err := s.read(p, e.Place, e.Name())
	return store.Record{Data: data, Place: p.path, Serial: e.TID}, err
}

// readPlace returns the content of a member where a slot says that it is. The checksum of
// the frame and the name of the member are compared.
func (s *Store) readPlace(p *part, slot current.Slot, n layout.Name) ([]byte, error) {
	cached, wanted := s.cached.get(p.opened, slot.Offset)
	if cached != nil {
		content, err := p.MemberAt(cached, slot.Block, n)
		return bytes.Clone(content), err
	}
	buf := s.buffers.Get().(*frameBuffers)
	defer s.buffers.Put(buf)
	packed, plain, err := p.ReadFrame(slot.Offset, int64(slot.Size), buf.packed, buf.plain)
	if cap(packed) <= keptBuffer {
		buf.packed = packed
	}
	if err != nil {
		return nil, err
	}
	content, err := p.MemberAt(plain, slot.Block, n)
	if err != nil {
		return nil, err
	}
	if wanted {
		s.cached.put(p.opened, slot.Offset, plain)
	}
	if cap(plain) > keptBuffer {
		return content, nil // nobody else has it
	}
	buf.plain = plain
	return bytes.Clone(content), nil
}

// HasData implements [store.Reader]: the table or the index tells.
func (s *Store) HasData(oid zodb.OID) (bool, error) {
	v, err := s.get()
	if err != nil {
		return false, err
	}
	defer v.release()
	if slot, known := s.table.Load().look(v, oid); known && slot.TID != 0 && slot.Flags&current.Removed == 0 && v.hasPlace(slot) {
		return slot.Flags&bundle.FlagGone == 0, nil
	}
	_, e, number, err := s.currentOf(v, oid)
	if err == nil && number < 0 {
		err = &zodb.KeyError{OID: oid}
	}
	return err == nil && e.Flags&bundle.FlagGone == 0, err
}

// OpenBlob implements [store.Reader].
func (s *Store) OpenBlob(oid zodb.OID, tid zodb.TID) (vfs.File, string, error) {
	return s.files.OpenBlob(oid, tid)
}

// Mark implements [store.Reader].
func (s *Store) Mark(n layout.Name) (uint64, error) { return s.files.Mark(n) }

// Place implements [store.Reader]: for a member the bundle whose range has it.
func (s *Store) Place(n layout.Name) string {
	if isFile(n) {
		return s.files.Place(n)
	}
	v := s.view()
	defer v.release()
	return v.place(n)
}

func (v *view) place(n layout.Name) string {
	if i := v.of(n.TID); i >= 0 {
		return v.parts[i].path
	}
	return dirOf(store.A)
}

// locate returns where a revision or a transaction lies.
func (v *view) locate(n layout.Name) (p *part, at bundle.Place, err error) {
	number := int64(-1)
	if n.Kind == layout.KindRevision {
		var e bundle.Revision
		p, e, number, err = v.find(n.OID, n.TID)
		at = e.Place
	} else {
		var e bundle.Transaction
		p, e, number, err = v.transaction(n.TID)
		at = e.Place
	}
	if err == nil && number < 0 {
		err = missing(n, v.place(n))
	}
	return p, at, err
}

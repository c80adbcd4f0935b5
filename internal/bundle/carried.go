package bundle

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// A bundle that was made of others carries the list of those of its members that are gone and can be
// brought back: in one more section of the index, in the form of a gone list with zeros in the place of
// the sum of the bundle. It counts as the list with the number 0. So the list is there whenever the
// bundle is, and is covered by its sum.

// Carried returns the list that the bundle was made with, which counts unless a gone list lies beside it;
// nil: there is none.
func (r *Reader) Carried() *Gone { return r.carried }

// ListLost reports of a Reader that was rebuilt that the bundle carried a list which is damaged, or whose
// members are not all there.
func (r *Reader) ListLost() bool { return r.lost }

// ListUnknown reports of a Reader that was rebuilt that nobody knows whether the bundle carried a list: the
// end of it, where that would be, is missing or damaged, and none was found.
func (r *Reader) ListUnknown() bool { return r.unknown }

// ListNewer returns of a Reader that was rebuilt the *layout.NewerError about the list that it carries; nil: a newer
// release did not write that, or nothing whole says so.
func (r *Reader) ListNewer() error {
	if r.newer == nil {
		return nil
	}
	return r.newer
}

// carriedMember is a member that is gone.
type carriedMember struct {
	name  layout.Name
	stamp int64
}

// carry notes a member that is written, if it is gone by the list of its source.
func (w *Writer) carry(n layout.Name, gone *Gone, number int64) {
	if stamp, ok := gone.stampOf(number); ok {
		w.carried = append(w.carried, carriedMember{n, stamp})
	}
}

// list returns the list of the members that are gone, when the revisions are in order; nil: none are.
func (w *Writer) list() ([]byte, error) {
	sets := make(map[int64]*roaring.Bitmap)
	for _, c := range w.carried {
		var number int
		var ok bool
		if c.name.Kind == layout.KindRevision {
			number, ok = slices.BinarySearchFunc(w.revisions, c.name, func(e Revision, n layout.Name) int {
				return cmp.Or(cmp.Compare(e.OID, n.OID), cmp.Compare(e.TID, n.TID))
			})
		} else {
			number, ok = slices.BinarySearchFunc(w.transactions, c.name, func(e Transaction, n layout.Name) int { return cmp.Compare(e.TID, n.TID) })
			number += len(w.revisions)
		}
		if !ok {
			return nil, fmt.Errorf("%s is gone, and was not written", c.name)
		}
		if sets[c.stamp] == nil {
			sets[c.stamp] = roaring.New()
		}
		sets[c.stamp].Add(uint32(number))
	}
	g := &Gone{}
	for _, stamp := range slices.Sorted(maps.Keys(sets)) {
		g.Sets = append(g.Sets, GoneSet{stamp, sets[stamp]})
	}
	return g.appendCarried()
}

// appendCarried returns the content of the section; nil: there is none.
func (g *Gone) appendCarried() ([]byte, error) {
	if g == nil || len(g.Sets) == 0 {
		return nil, nil
	}
	return (&Gone{Sets: g.Sets}).Append(nil)
}

// readList reads the list.
func (r *Reader) readList() error {
	if r.listSize == 0 {
		return nil
	}
	at := r.size - FooterSize - r.listSize
	b := make([]byte, r.listSize)
	if err := r.readAt(b, at); err != nil {
		return err
	}
	g, err := r.parseList(b)
	if err := newer(err, r.path); err != nil {
		return err
	}
	if err != nil {
		return r.corrupt(at, nil, "the list of removed members that it carries is damaged: %s", err)
	}
	r.carried = g
	return nil
}

// parseList parses the content of the section. The error is the reason alone.
func (r *Reader) parseList(b []byte) (*Gone, error) {
	g, err := ParseGone(b, r.path, &Info{Revisions: r.Revisions, Transactions: r.Transactions})
	if damage, ok := errors.AsType[*zodb.CorruptError](err); ok {
		return nil, errors.New(damage.Reason)
	}
	if err == nil && len(g.Sets) == 0 {
		err = errors.New("there is nothing in it")
	}
	if err != nil {
		return nil, err
	}
	g.Sum = r.Sum
	return g, nil
}

// findList returns the list of a bundle whose index is damaged, in which all members are there; nil: there is
// none, or it is lost. Where the footer is damaged, too, it is the frame behind those of the index.
func (r *Reader) findList(tarEnd int64, footer bool) (list []byte, lost bool, err error) {
	at, size := r.size-FooterSize-r.listSize, r.listSize
	if !footer {
		var known bool
		if at, size, known, err = r.behindIndex(tarEnd); err != nil {
			return nil, false, err
		}
		r.unknown = !known
	}
	if size == 0 {
		return nil, false, nil
	}
	list = make([]byte, size)
	if err = r.readAt(list, at); err == nil {
		_, err = r.parseList(list)
	}
	if err != nil {
		r.noteNewer(err)
		return nil, true, err
	}
	return list, false, nil
}

// noteNewer notes an error about a list if a newer release wrote it. The checksum covers the version, so a
// damaged list does not pass for one.
func (r *Reader) noteNewer(err error) {
	if n, ok := errors.AsType[*layout.NewerError](newer(err, r.path)); ok {
		r.newer = n
	}
}

// findNewer looks for the list of a newer release behind an offset, where the members are not all there, so that
// the list tells no more of them. It is the last frame before the footer, or a part of it.
func (r *Reader) findNewer(from int64, footer bool) error {
	if footer {
		if r.listSize == 0 {
			return nil
		}
		return r.newerAt(r.size-FooterSize-r.listSize, r.listSize)
	}
	const step = 1 << 20
	head := skippableHead + len(goneMagic)
	b := make([]byte, step+head-1)
	for at := from; at+int64(head) <= r.size; at += step {
		part := b[:min(int64(len(b)), r.size-at)]
		if err := r.readAt(part, at); err != nil {
			return err
		}
		for k := 0; ; k++ {
			next := bytes.Index(part[k:], []byte(goneMagic))
			if next < 0 {
				break
			}
			if k += next; k < skippableHead || binary.LittleEndian.Uint32(part[k-skippableHead:]) != skippableMagic {
				continue
			}
			begin, size := at+int64(k), int64(binary.LittleEndian.Uint32(part[k-4:]))
			if rest := r.size - begin - size; rest < 0 || rest > FooterSize {
				continue
			}
			if err := r.newerAt(begin, size); err != nil {
				return err
			}
		}
	}
	return nil
}

// newerAt notes whether the list at an offset is of a newer release.
func (r *Reader) newerAt(at, size int64) error {
	list := make([]byte, size)
	if err := r.readAt(list, at); err != nil {
		return err
	}
	_, err := r.parseList(list)
	r.noteNewer(err)
	return nil
}

// behindIndex returns where the content of the frame behind the sections of the index is, if it begins as
// a list does; size 0: it does not. known is false where that is not the footer either.
func (r *Reader) behindIndex(at int64) (begin, size int64, known bool, err error) {
	head := make([]byte, skippableHead+len(goneMagic))
	for range sectionFences + 2 {
		if at+int64(len(head)) > r.size {
			return 0, 0, false, nil
		}
		if err := r.readAt(head, at); err != nil {
			return 0, 0, false, err
		}
		if binary.LittleEndian.Uint32(head) != skippableMagic {
			return 0, 0, false, nil
		}
		at += skippableHead
		size = int64(binary.LittleEndian.Uint32(head[4:]))
		if string(head[skippableHead:]) == goneMagic && at+size <= r.size {
			return at, size, true, nil
		}
		if at += size; at >= r.size && size == footerContent {
			return 0, 0, true, nil // perhaps a part of it
		}
	}
	return 0, 0, false, nil
}

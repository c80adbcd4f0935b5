package current

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// Entry is the slot of an object, to be put. Its tid is not 0.
type Entry struct {
	OID zodb.OID
	Slot
}

// Put puts the slots that are not older than those in the table; of two with one tid the later
// one counts. The entries are sorted by oid. After an error some of them may be there; it may be
// repeated, and a Commit would not know of it. Nothing is durable before Commit.
//
// A slot that is damaged is replaced, so nothing newer than the entries may have been put of their
// objects, except entries that are put again after them. Otherwise use [Table.Refresh].
func (t *Table) Put(entries []Entry) error { return t.putAll(entries, false) }

// Refresh is Put for entries that may not be the newest: a slot that is damaged stays so, because
// it may have been newer.
func (t *Table) Refresh(entries []Entry) error { return t.putAll(entries, true) }

func (t *Table) putAll(entries []Entry, refresh bool) error {
	t.puts.Lock()
	defer t.puts.Unlock()
	if t.err != nil {
		return t.err
	}
	err := t.put(entries, refresh)
	if t.held != nil {
		t.err = err // pages may be lost
	}
	return err
}

func (t *Table) put(entries []Entry, refresh bool) error {
	byOID := func(a, b Entry) int { return cmp.Compare(a.OID, b.OID) }
	if !slices.IsSortedFunc(entries, byOID) {
		slices.SortStableFunc(entries, byOID)
	}
	list := *t.extents.Load()
	var added extents
	for len(entries) > 0 {
		group := uint64(entries[0].OID) / slotsInPage
		n := 1
		for n < len(entries) && uint64(entries[n].OID)/slotsInPage == group {
			n++
		}
		page, found := list.find(group)
		if !found {
			if t.sparse() {
				return ErrSparse
			}
			page = t.pages
			t.pages++
			added = added.and(extent{group, page, 1})
		}
		if err := t.putPage(page, !found, refresh, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	if len(added) == 0 {
		return nil
	}
	var b []byte
	for k := range added {
		b = added[k].append(b)
	}
	if _, err := t.list.WriteAt(b, int64(t.listed)*extentSize); err != nil {
		return err
	}
	t.listed += uint32(len(added))
	list = list.with(added)
	t.extents.Store(&list)
	return nil
}

// putPage puts the entries of one page.
func (t *Table) putPage(page uint32, fresh, refresh bool, entries []Entry) error {
	b, err := t.page(page, fresh)
	if err != nil {
		return err
	}
	if fresh {
		putEmpty(b, uint64(entries[0].OID)/slotsInPage)
	} else if t.held == nil {
		t.before = append(t.before[:0], b...)
	}
	changed := false
	for k := range entries {
		e := &entries[k]
		at := int(uint64(e.OID)%slotsInPage) * slotSize
		slot := b[at:][:slotSize]
		was := tidOf(slot)
		if refresh || was > e.TID {
			if _, ok := parseSlot(slot, e.OID); ok && was > e.TID || !ok && refresh {
				continue
			}
		}
		if was == 0 {
			t.objects++
		}
		e.put(slot, e.OID)
		changed = true
	}
	if t.held != nil || !changed {
		return nil
	}
	err = t.writePages(b, page)
	if err != nil && !fresh {
		err = errors.Join(err, t.writeBack(page))
	}
	return err
}

// writeBack undoes a write of a page that failed, on a full disk for example, and left a part of the
// page: else its objects would be damaged until they are put again. If it fails too, they are.
func (t *Table) writeBack(page uint32) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.file.WriteAt(t.before, offsetOf(page))
	return err
}

// writePages writes pages that follow one another.
func (t *Table) writePages(b []byte, first uint32) error {
	sealed := make([]uint32, len(b)/pageSize)
	for i := range sealed {
		var err error
		if sealed[i], err = t.versions.seal(b[i*pageSize:][:pageSize], first+uint32(i)); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.file.WriteAt(b, offsetOf(first)); err != nil {
		return err
	}
	for i, version := range sealed {
		if err := t.versions.set(first+uint32(i), version); err != nil {
			return err
		}
	}
	return nil
}

// putEmpty makes a page of a group without entries: zeros alone would be a page that was lost.
func putEmpty(b []byte, group uint64) {
	for i := range uint64(slotsInPage) {
		new(Slot).put(b[i*slotSize:][:slotSize], zodb.OID(group*slotsInPage+i))
	}
}

// page returns the content of a page, to be changed.
func (t *Table) page(page uint32, fresh bool) ([]byte, error) {
	if t.held != nil {
		return t.held.page(t, page, fresh)
	}
	if t.buf == nil {
		t.buf = make([]byte, pageSize)
	}
	return t.buf, t.readPage(page, fresh, t.buf)
}

// readPage reads one. If it is not to be believed, all of its slots are damaged.
func (t *Table) readPage(page uint32, fresh bool, b []byte) error {
	if fresh {
		clear(b)
		return nil
	}
	n, err := t.file.ReadAt(b, offsetOf(page))
	if n < len(b) && !errors.Is(err, io.EOF) {
		return err
	}
	clear(b[n:])
	ok, err := t.versions.believed(b, page)
	if !ok && err == nil {
		clear(b)
	}
	return err
}

const (
	// heldCount is how many pages are held at most: 32 MiB.
	heldCount = 1 << 16
	// heldTogether is how many lie in one piece of memory, and are written at once.
	heldTogether = 256
)

// heldPages keeps pages in memory that are changed again and again, as while a table is made.
type heldPages struct {
	numbers [heldCount]uint32 // one more than that of a page; 0: none
	pieces  [heldCount / heldTogether][]byte
}

// bytes are those of n pages of one piece.
func (h *heldPages) bytes(at, n int) []byte {
	piece := &h.pieces[at/heldTogether]
	if *piece == nil {
		*piece = make([]byte, heldTogether*pageSize)
	}
	return (*piece)[at%heldTogether*pageSize:][:n*pageSize]
}

// Hold keeps slots that are put from now on in memory, as far as there is room, until Commit. Nobody may
// call Get meanwhile.
func (t *Table) Hold() {
	t.puts.Lock()
	defer t.puts.Unlock()
	t.held = new(heldPages)
}

func (h *heldPages) page(t *Table, page uint32, fresh bool) ([]byte, error) {
	at := int(page % heldCount)
	b := h.bytes(at, 1)
	if h.numbers[at] == page+1 {
		return b, nil
	}
	if err := h.write(t, at); err != nil {
		return nil, err
	}
	if err := t.readPage(page, fresh, b); err != nil {
		return nil, err
	}
	h.numbers[at] = page + 1
	return b, nil
}

func (h *heldPages) write(t *Table, at int) error {
	if h.numbers[at] == 0 {
		return nil
	}
	err := t.writePages(h.bytes(at, 1), h.numbers[at]-1)
	h.numbers[at] = 0
	return err
}

// letGo writes the pages that are held. Neighbours are written at once.
func (t *Table) letGo() error {
	h := t.held
	if h == nil {
		return nil
	}
	for at := 0; at < heldCount; {
		if h.numbers[at] == 0 {
			at++
			continue
		}
		n := 1
		for (at+n)%heldTogether != 0 && h.numbers[at+n] == h.numbers[at]+uint32(n) {
			n++
		}
		if err := t.writePages(h.bytes(at, n), h.numbers[at]-1); err != nil {
			return err
		}
		at += n
	}
	t.held = nil
	return nil
}

// put writes the 32 bytes of a slot.
func (s *Slot) put(b []byte, oid zodb.OID) {
	binary.BigEndian.PutUint64(b, uint64(s.TID))
	binary.BigEndian.PutUint64(b[8:], uint64(s.Offset))
	binary.BigEndian.PutUint32(b[16:], s.Bundle)
	binary.BigEndian.PutUint32(b[20:], s.Size)
	binary.BigEndian.PutUint16(b[24:], s.Block)
	binary.BigEndian.PutUint16(b[26:], s.Flags)
	binary.BigEndian.PutUint32(b[28:], slotSum(b, oid))
}

package current

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
)

// extent says that pages of neighbouring objects lie one behind the other. ZODB gives out oids one
// after the other, so there are few of them.
type extent struct {
	group uint64 // the first oid of its first page, divided by slotsInPage
	page  uint32
	count uint32
}

// extents are sorted by group.
type extents []extent

// find returns the page of a group.
func (l extents) find(group uint64) (page uint32, ok bool) {
	i := sort.Search(len(l), func(i int) bool { return l[i].group > group }) - 1
	if i < 0 || group-l[i].group >= uint64(l[i].count) {
		return 0, false
	}
	return l[i].page + uint32(group-l[i].group), true
}

// with returns a list with others in it, which are sorted, too, and which it does not have.
func (l extents) with(added extents) extents {
	all := make(extents, 0, len(l)+len(added))
	for len(l) > 0 || len(added) > 0 {
		if len(added) == 0 || len(l) > 0 && l[0].group < added[0].group {
			all, l = all.and(l[0]), l[1:]
		} else {
			all, added = all.and(added[0]), added[1:]
		}
	}
	return all
}

// and appends an extent, as a part of the last one where it goes on.
func (l extents) and(e extent) extents {
	if n := len(l); n > 0 {
		last := &l[n-1]
		if last.group+uint64(last.count) == e.group && last.page+last.count == e.page {
			last.count += e.count
			return l
		}
	}
	return append(l, e)
}

// sorted checks a list that was read: no group and no page has two.
func (l extents) sorted(pages uint32) (extents, error) {
	slices.SortFunc(l, func(a, b extent) int {
		if a.group < b.group {
			return -1
		}
		return 1
	})
	total := uint64(0)
	for i, e := range l {
		total += uint64(e.count)
		if e.count == 0 || uint64(e.page)+uint64(e.count) > uint64(pages) || i > 0 && e.group-l[i-1].group < uint64(l[i-1].count) {
			return nil, fmt.Errorf("%w: its list of pages contradicts itself", ErrDamaged)
		}
	}
	if total > uint64(pages) {
		return nil, fmt.Errorf("%w: its list names %d pages, and its header says %d", ErrDamaged, total, pages)
	}
	return extents(nil).with(l), nil
}

const extentSize = 20 // in the list of pages, a checksum of 4 bytes included

func (e *extent) append(b []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint64(b, e.group)
	b = binary.BigEndian.AppendUint32(b, e.page)
	b = binary.BigEndian.AppendUint32(b, e.count)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

func parseExtent(b []byte) (extent, bool) {
	e := extent{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])}
	return e, binary.BigEndian.Uint32(b[16:]) == crc32.Checksum(b[:16], castagnoli)
}

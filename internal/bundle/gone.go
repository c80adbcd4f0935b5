package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Gone says which members of one bundle packs have given up. Members have numbers: that of a
// revision in the index, and that of a transaction and the number of revisions. It is
// written whole, under the next number, whenever it changes; the highest number counts.
// It is not changed after it was made, and may be used concurrently.
type Gone struct {
	// Sum is that of the bundle, [Info.Sum].
	Sum [sha256.Size]byte
	// Sets are in order of their stamps, and have no members in common.
	Sets []GoneSet
}

// GoneSet are the members that one pack removed.
type GoneSet struct {
	// Stamp is when that pack began, in seconds since 1970; until it is purged the members can be
	// brought back. 0: they are gone for good.
	Stamp   int64
	Members *roaring.Bitmap
}

// Offsets in a file of a Gone.
const (
	goneVersion = 8
	goneCount   = 12 // of sets
	goneSum     = 16
	goneSets    = 48 // of each: stamp, 8 bytes; length, 4; a roaring bitmap of that length

	goneMagic   = "DSgone\r\n"
	goneSetHead = 12
	goneTail    = 4 // CRC-32C of all before
)

// stampOf returns the stamp with which a member was given up; ok: it was.
func (g *Gone) stampOf(number int64) (stamp int64, ok bool) {
	if g == nil {
		return 0, false
	}
	for _, s := range g.Sets {
		if s.Members.Contains(uint32(number)) {
			return s.Stamp, true
		}
	}
	return 0, false
}

// Has reports whether a member is given up, for good or not.
func (g *Gone) Has(number int64) bool {
	_, ok := g.stampOf(number)
	return ok
}

// ForGood returns the members that cannot be brought back; nil if there are none.
func (g *Gone) ForGood() *roaring.Bitmap {
	if g == nil || len(g.Sets) == 0 || g.Sets[0].Stamp != 0 {
		return nil
	}
	return g.Sets[0].Members
}

// All returns a copy of all members that are given up.
func (g *Gone) All() *roaring.Bitmap {
	all := roaring.New()
	if g != nil {
		for _, s := range g.Sets {
			all.Or(s.Members)
		}
	}
	return all
}

// IsAside reports whether a member can be brought back that was given up with a stamp; 0: with any.
func (g *Gone) IsAside(number, stamp int64) bool {
	was, ok := g.stampOf(number)
	return ok && was != 0 && (stamp == 0 || was == stamp)
}

// Aside reports whether there are members that can be brought back.
func (g *Gone) Aside() bool {
	return g != nil && len(g.Sets) > 0 && g.Sets[len(g.Sets)-1].Stamp != 0
}

// With returns the list after a pack that removed more members. Members that were gone before stay
// with the pack that removed them.
func (g *Gone) With(sum [sha256.Size]byte, stamp int64, members *roaring.Bitmap) *Gone {
	members = members.Clone()
	next := &Gone{Sum: sum}
	placed := false
	place := func() {
		if !placed && !members.IsEmpty() {
			next.Sets = append(next.Sets, GoneSet{stamp, members})
		}
		placed = true
	}
	var sets []GoneSet
	if g != nil {
		sets = g.Sets
	}
	for _, s := range sets {
		members.AndNot(s.Members)
	}
	for _, s := range sets {
		switch {
		case s.Stamp == stamp:
			next.Sets = append(next.Sets, GoneSet{stamp, roaring.Or(s.Members, members)})
			placed = true
		case s.Stamp > stamp:
			place()
			next.Sets = append(next.Sets, s)
		default:
			next.Sets = append(next.Sets, s)
		}
	}
	place()
	return next
}

// Back returns the list after some members were brought back, of those that can be.
func (g *Gone) Back(members *roaring.Bitmap) *Gone {
	next := &Gone{Sum: g.Sum}
	for _, s := range g.Sets {
		if s.Stamp != 0 {
			s.Members = roaring.AndNot(s.Members, members)
		}
		if s.Stamp == 0 || !s.Members.IsEmpty() {
			next.Sets = append(next.Sets, s)
		}
	}
	return next
}

// Purged returns the list after all members with earlier stamps than before are gone for good.
func (g *Gone) Purged(before int64) *Gone {
	next := &Gone{Sum: g.Sum}
	for _, s := range g.Sets {
		if s.Stamp >= before {
			next.Sets = append(next.Sets, s)
			continue
		}
		if len(next.Sets) == 0 || next.Sets[0].Stamp != 0 {
			next.Sets = append(next.Sets, GoneSet{0, roaring.New()})
		}
		next.Sets[0].Members = roaring.Or(next.Sets[0].Members, s.Members)
	}
	return next
}

// Append appends the file.
func (g *Gone) Append(dst []byte) ([]byte, error) {
	at := len(dst)
	dst = append(dst, goneMagic...)
	dst = binary.BigEndian.AppendUint32(dst, Version)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(g.Sets)))
	dst = append(dst, g.Sum[:]...)
	for _, s := range g.Sets {
		m := s.Members.Clone()
		m.RunOptimize()
		b, err := m.ToBytes()
		if err != nil {
			return nil, err
		}
		dst = binary.BigEndian.AppendUint64(dst, uint64(s.Stamp))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(b)))
		dst = append(dst, b...)
	}
	return binary.BigEndian.AppendUint32(dst, checksum(dst[at:])), nil
}

// ParseGone reads the file, b being all of it, that is about the members of a bundle. Nothing of
// b is kept. The path is for errors.
func ParseGone(b []byte, path string, of *Info) (*Gone, error) {
	wrong := func(offset int, format string, args ...any) error {
		return &zodb.CorruptError{Path: path, Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
	}
	if len(b) < goneSets+goneTail || string(b[:len(goneMagic)]) != goneMagic {
		return nil, wrong(0, "the file is not a list of removed members of a bundle, or its end is missing")
	}
	tail := len(b) - goneTail
	if got, want := checksum(b[:tail]), binary.BigEndian.Uint32(b[tail:]); got != want {
		return nil, wrong(tail, "the checksum is %08x, but that of the content is %08x", want, got)
	}
	if v := binary.BigEndian.Uint32(b[goneVersion:]); v > Version {
		return nil, &layout.NewerError{Path: path, Kind: "list of removed members", Version: fmt.Sprint(v), Known: fmt.Sprint(Version)}
	} else if v < Version {
		return nil, wrong(goneVersion, "version %d of the format; this program reads %d", v, Version)
	}
	if !bytes.Equal(b[goneSum:goneSets], of.Sum[:]) {
		return nil, wrong(goneSum, "it is about a bundle with the sum %x, and that in its place has %x", b[goneSum:goneSets], of.Sum)
	}
	return parseSets(b, path, of)
}

// SumIn returns the sum of the bundle that the file is about; zeros: there is none in it.
func SumIn(b []byte) (sum [sha256.Size]byte) {
	if len(b) >= goneSets {
		sum = [sha256.Size]byte(b[goneSum:goneSets])
	}
	return sum
}

// CheckGone looks at the file for who does not have the bundle that it is about.
func CheckGone(b []byte, path string) error {
	_, err := ParseGone(b, path, &Info{Revisions: 1 << 32, Sum: SumIn(b)})
	return err
}

func parseSets(b []byte, path string, of *Info) (*Gone, error) {
	wrong := func(offset int, format string, args ...any) error {
		return &zodb.CorruptError{Path: path, Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
	}
	tail := len(b) - goneTail
	g := &Gone{Sum: of.Sum}
	all := roaring.New()
	at := goneSets
	for range binary.BigEndian.Uint32(b[goneCount:]) {
		if tail-at < goneSetHead {
			return nil, wrong(at, "the file ends within its sets")
		}
		stamp, n := int64(binary.BigEndian.Uint64(b[at:])), int64(binary.BigEndian.Uint32(b[at+8:]))
		if stamp < 0 || len(g.Sets) > 0 && stamp <= g.Sets[len(g.Sets)-1].Stamp {
			return nil, wrong(at, "a set has the stamp %d, which is out of order", stamp)
		}
		if at += goneSetHead; int64(tail-at) < n {
			return nil, wrong(at, "a set has %d bytes, and %d are left", n, tail-at)
		}
		m, err := parseBitmap(b[at:][:n], of.Revisions+of.Transactions)
		if err == nil && m.IsEmpty() {
			err = errors.New("a set has no members")
		}
		if err == nil && m.Intersects(all) {
			err = fmt.Errorf("a set repeats members of another")
		}
		if err != nil {
			return nil, wrong(at, "the set with the stamp %d: %v", stamp, err)
		}
		all.Or(m)
		g.Sets = append(g.Sets, GoneSet{stamp, m})
		at += int(n)
	}
	if at != tail {
		return nil, wrong(at, "%d bytes follow the sets", tail-at)
	}
	return g, nil
}

func parseBitmap(b []byte, members int64) (*roaring.Bitmap, error) {
	m := roaring.New()
	n, err := m.FromBuffer(bytes.Clone(b))
	if err == nil && n != int64(len(b)) {
		err = fmt.Errorf("the bitmap has %d of %d bytes", n, len(b))
	}
	if err == nil {
		err = m.Validate()
	}
	if err == nil && !m.IsEmpty() && int64(m.Maximum()) >= members {
		err = fmt.Errorf("it has member %d of %d", m.Maximum(), members)
	}
	return m, err
}

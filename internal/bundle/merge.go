package bundle

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Source is a bundle that is merged.
type Source struct {
	*Reader
	// Drop reports whether a member is left out, by its number: that of a revision, or that of
	// a transaction and the number of revisions. nil: none is.
	Drop func(number int64) bool
	// Gone is the list that counts for it; nil: nothing of it is gone. The bundle that is written carries
	// those of its members that are not left out.
	Gone *Gone
}

// Merge writes the members of some bundles, in the order of their ranges, into one bundle, with a list of
// those of them that are gone. Frames of which all members stay are copied as they are, unless they
// are small. Its memory is 32 bytes for each member that stays, as much for each that is in the list, and
// some frames.
func Merge(ctx context.Context, w io.Writer, o Options, sources []Source) (Info, error) {
	out, err := NewWriter(w, o)
	if err != nil {
		return Info{}, err
	}
	defer out.Abort()
	for _, s := range sources {
		if out.last != 0 && s.Min <= out.last {
			return Info{}, fmt.Errorf("the bundle of %s to %s follows one with the transaction %s", s.Min, s.Max, out.last)
		}
		m := &merger{w: out, s: s, moved: make([]uint32, s.Frames), again: make(map[layout.Name]Place)}
		if err := m.run(ctx); err != nil {
			return Info{}, err
		}
	}
	return out.Close()
}

// merger copies one bundle.
type merger struct {
	w     *Writer
	s     Source
	drop  map[layout.Name]bool
	dirty []bool                // by frame: it has members that are left out
	moved []uint32              // by frame: its new number, 0 if its members were written again; else one more
	again map[layout.Name]Place // the new places of those
}

func (m *merger) run(ctx context.Context) error {
	if err := m.findDropped(); err != nil {
		return err
	}
	var packed, plain []byte
	number := 0
	for f, err := range m.s.FramesFrom(0) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if packed, err = m.s.ReadPacked(f, packed); err != nil {
			return err
		}
		small := int64(f.Blocks)*tarBlock < int64(m.w.o.FrameSize)/2
		if !small && !m.dirty[number] {
			if m.moved[number], err = m.w.copyFrame(f, slices.Clone(packed)); err != nil {
				return err
			}
			m.moved[number]++
		} else {
			if plain, err = m.s.Decode(f, packed, plain); err == nil {
				err = m.writeAgain(f, plain)
			}
			if err != nil {
				return err
			}
		}
		number++
	}
	return m.index()
}

// findDropped notes the members that are left out, and their frames.
func (m *merger) findDropped() error {
	m.dirty = make([]bool, m.s.Frames)
	if m.s.Drop == nil {
		return nil
	}
	m.drop = make(map[layout.Name]bool)
	number := int64(0)
	note := func(n layout.Name, p Place) {
		if m.s.Drop(number) {
			m.drop[n], m.dirty[p.Frame] = true, true
		}
		number++
	}
	for e, err := range m.s.RevisionsFrom(0) {
		if err != nil {
			return err
		}
		note(e.Name(), e.Place)
	}
	for e, err := range m.s.TransactionsFrom(0) {
		if err != nil {
			return err
		}
		note(e.Name(), e.Place)
	}
	return nil
}

func (m *merger) writeAgain(f Frame, plain []byte) error {
	for len(plain) > 0 {
		n, content, rest, err := parseMember(plain)
		if err != nil {
			return m.s.corrupt(f.Offset, err, "a frame cannot be read")
		}
		if plain = rest; m.drop[n] {
			continue
		}
		if m.again[n], err = m.w.add(n, content); err != nil {
			return err
		}
	}
	return nil
}

// index adds the entries of the members that were copied.
func (m *merger) index() error {
	place := func(n layout.Name, p *Place) error {
		if moved := m.moved[p.Frame]; moved != 0 {
			p.Frame = moved - 1
			return nil
		}
		again, ok := m.again[n]
		if !ok || again.Length != p.Length {
			return m.s.wrong(n, fmt.Errorf("it is not in frame %d, where the index says that it is", p.Frame))
		}
		p.Frame, p.Block = again.Frame, again.Block
		return nil
	}
	firsts := make(map[zodb.TID]Place) // of transactions whose first member was left out or moved
	number := int64(-1)
	for e, err := range m.s.RevisionsFrom(0) {
		if err != nil {
			return err
		}
		number++
		if m.drop[e.Name()] {
			continue
		}
		if err := place(e.Name(), &e.Place); err != nil {
			return err
		}
		if e.Flags&FlagBlob != 0 {
			m.w.blobs++
		}
		if p, ok := firsts[e.TID]; !ok || e.before(p) {
			firsts[e.TID] = e.Place
		}
		m.w.revisions = append(m.w.revisions, e)
		m.w.carry(e.Name(), m.s.Gone, number)
	}
	for e, err := range m.s.TransactionsFrom(0) {
		if err != nil {
			return err
		}
		number++
		if m.drop[e.Name()] {
			continue // a revision of it may stay: of those, too, an older pack may have been taken back
		}
		if err := place(e.Name(), &e.Place); err != nil {
			return err
		}
		first, ok := firsts[e.TID]
		if !ok {
			first = e.Place
		}
		e.FirstFrame, e.FirstBlock = first.Frame, first.Block-1
		m.w.transactions = append(m.w.transactions, e)
		m.w.carry(e.Name(), m.s.Gone, number)
		m.w.last = e.TID
	}
	return nil
}

func (p *Place) before(other Place) bool {
	return p.Frame < other.Frame || p.Frame == other.Frame && p.Block < other.Block
}

// copyFrame adds a frame of another bundle as it is, and returns its number.
func (w *Writer) copyFrame(f Frame, packed []byte) (uint32, error) {
	if err := w.cut(); err != nil {
		return 0, err
	}
	number := w.frame
	if w.frame++; w.frame == 0 {
		return 0, w.fail(fmt.Errorf("the bundle has too many frames"))
	}
	if err := w.frames.copy(f, packed); err != nil {
		return 0, w.fail(err)
	}
	return number, nil
}

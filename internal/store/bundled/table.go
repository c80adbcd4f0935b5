package bundled

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/zodb"
)

// table is the table of current revisions: for each object the newest entry of any bundle, gone
// or not. It is derived. It is brought up to date before a view is published, so it is as new as any
// view, or newer. An error in it never stops the store: then there is not a table until a
// chore has made it again, and reads look into the indexes of all bundles.
//
// Its note names the bundles and lists of which it had the entries when it was committed, with
// checksums of their contents. An open puts the entries of the others.
type table struct {
	t   *current.Table
	bad atomic.Bool // it is not asked any more

	// mu is held while an entry is compared with its slot and put, and for a commit.
	mu sync.Mutex
	// behind are merged bundles whose places are not in it yet: it names their sources, which are
	// removed, so reads look into the indexes.
	behind map[bundle.Name]bool // guarded by mu
	// lists are those of the note with which it was opened.
	lists map[bundle.Name]notedList

	// gone counts changes of gone lists: a task that puts entries beside the goroutine that puts sees
	// by it whether the lists that it has read are the current ones.
	gone int64 // guarded by mu; changed by the goroutine that puts

	// Of the goroutine that puts:
	changes int // views since it was committed
	closed  bool
}

const (
	// commitEvery is the default of [Options.CommitEvery].
	commitEvery = 64
	// putAtOnce is how many slots are put at a time.
	putAtOnce = 1 << 14
	// nearBy is how many entries are read on the way to the next one, rather than looked up.
	nearBy = 200
	// behindWord is said of a bundle of table.behind, before the sum of its list. Earlier builds had no sum.
	behindWord = "behind"
	// notedSum is how many bytes of a SHA-256 are in the note.
	notedSum = 8
	// noList and unknownSum are in the place of the sum of a list: there is none, or it could not be computed.
	noList, unknownSum = "-", "?"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// short is the short name of a bundle in a slot.
func short(n bundle.Name) uint32 { return crc32.Checksum([]byte(n.String()), castagnoli) }

// listOf is the note of the table. mu must be held.
func (t *table) listOf(v *view) []byte {
	var b []byte
	for i := range v.parts {
		p := &v.parts[i]
		b = append(b, p.noteLine(t.behind[p.name])...)
		b = append(b, p.noteNumber()...)
		b = append(b, '\n')
	}
	return b
}

// noteLine begins the line of a bundle in the note of the table: its name, and the beginnings of its
// SHA-256 and of that of its gone list. A number would not tell the list from that of a copy that was
// packed elsewhere. behind: the table does not have all of its places.
func (p *part) noteLine(behind bool) string {
	list := p.goneSum()
	if behind {
		list = behindWord + ":" + list
	}
	return p.noteBegin() + " " + list
}

// noteBegin is the part of it that is of the bundle alone.
func (p *part) noteBegin() string { return fmt.Sprintf("%s %x", p.name, p.Sum[:notedSum]) }

func newTable(t *current.Table) *table {
	return &table{t: t, behind: make(map[bundle.Name]bool), lists: make(map[bundle.Name]notedList)}
}

// errOtherTable: the table has entries that are nowhere, or not known.
var errOtherTable = errors.New("the table is of other bundles")

// catchUp puts the entries that have changed since the table was committed.
func (t *table) catchUp(ctx context.Context, v *view) error {
	upTo, note := t.t.UpTo()
	firsts, lasts := make(map[zodb.TID]bool), make(map[zodb.TID]bool)
	for line := range strings.Lines(string(note)) {
		n, line, number, ok := cutNote(line)
		if !ok {
			return errOtherTable
		}
		t.lists[n] = notedList{line, number}
		firsts[n.Min], lasts[n.Max] = true, true
		if i := v.of(n.Min); i < 0 || v.parts[i].name != n && !v.parts[i].name.Supersedes(n) {
			return errOtherTable
		}
	}
	for i := range v.parts {
		p := &v.parts[i]
		said, ok := t.lists[p.name]
		var err error
		switch {
		case said.is(p, false):
			continue
		case said.is(p, true), !ok && p.number == 0 && firsts[p.name.Min] && lasts[p.name.Max] && p.name.Max <= upTo:
			t.behind[p.name] = true // all that it has came from others
			continue
		case said.isBehind(p), !ok && firsts[p.name.Min] && lasts[p.name.Max] && p.name.Max <= upTo:
			// Some of its places may have been put before its list was.
			t.behind[p.name] = true
			err = t.putGone(&part{opened: p.opened}, p)
		case ok && !strings.Contains(said.line, fmt.Sprintf(" %x", p.Sum[:notedSum])):
			return errOtherTable // another bundle had its name
		case ok: // another gone list: other bundles may have newer entries
			err = t.putPart(ctx, p, t.gone, t.t.Refresh)
		default:
			err = t.putPart(ctx, p, t.gone, t.t.Put)
		}
		if err != nil {
			return err
		}
		t.changes++
	}
	return nil
}

// commit makes it durable, with its note.
func (t *table) commit(v *view) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes = 0
	return t.t.Commit(v.last(), t.listOf(v))
}

// follow brings the table up to date with a view that is about to be published.
func (s *Store) follow(before, next *view) {
	t := s.table.Load()
	if t == nil || t.bad.Load() {
		return
	}
	err := t.follow(before, next)
	if t.changes++; err == nil && t.changes >= s.o.CommitEvery {
		err = t.commit(next)
	}
	if err != nil {
		t.bad.Store(true)
		s.tableFailed(err)
	}
}

func (t *table) follow(before, next *view) error {
	was := make(map[bundle.Name]*part)
	for i := range before.parts {
		was[before.parts[i].name] = &before.parts[i]
	}
	for i := range next.parts {
		p := &next.parts[i]
		old, ok := was[p.name]
		var err error
		switch {
		case !ok && before.has(p.name):
			t.mu.Lock()
			t.behind[p.name] = true
			t.mu.Unlock()
		case !ok:
			err = t.putPart(context.Background(), p, t.gone, t.t.Put)
		case old.gone != p.gone:
			err = t.putGone(old, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// catchUpBehind puts the places of a bundle that came of a merge. It is called beside the goroutine
// that puts, one call at a time. more: there was one. gone is that of the moment of the view.
func (t *table) catchUpBehind(ctx context.Context, v *view, gone int64) (more bool, err error) {
	if t == nil || t.bad.Load() {
		return false, nil
	}
	for i := range v.parts {
		p := &v.parts[i]
		t.mu.Lock()
		behind := t.behind[p.name]
		t.mu.Unlock()
		if !behind || p.damaged.Load() {
			continue
		}
		if err := t.putPart(ctx, p, gone, t.t.Refresh); err != nil {
			if errors.Is(err, errGoneChanged) {
				return true, nil
			}
			return false, err
		}
		t.mu.Lock()
		delete(t.behind, p.name)
		t.mu.Unlock()
		return true, nil
	}
	return false, nil
}

// slotOf returns the slot of an entry.
func slotOf(p *part, e bundle.Revision, f bundle.Frame, gone bool) current.Entry {
	flags := e.Flags
	if gone {
		flags |= current.Removed
	}
	size := uint32(0)
	if f.Size < 1<<32 {
		size = uint32(f.Size)
	}
	return current.Entry{OID: e.OID, Slot: current.Slot{TID: e.TID, Bundle: p.short, Offset: f.Offset, Size: size, Block: e.Block, Flags: flags}}
}

// errGoneChanged: the entries were made with a gone list that has been replaced.
var errGoneChanged = errors.New("packs have changed the removed members")

// put puts the entries that are not older than their slots.
func (t *table) put(entries []current.Entry, gone int64, put putter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if gone != t.gone {
		return errGoneChanged
	}
	return put(entries)
}

// putGone puts the entries of a bundle again of which another list says something else.
func (t *table) putGone(old, p *part) error {
	changed := old.gone.All()
	changed.Xor(p.gone.All())
	t.mu.Lock()
	t.gone++
	t.mu.Unlock()
	at, err := frames(p)
	if err != nil {
		return err
	}
	var entries []current.Entry
	for it := changed.Iterator(); it.HasNext() && int64(it.PeekNext()) < p.Revisions; {
		number := int64(it.PeekNext())
		for e, err := range p.RevisionsFrom(number) {
			if err != nil {
				return err
			}
			if uint32(number) == it.PeekNext() {
				it.Next()
				entries = append(entries, slotOf(p, e, at[e.Frame], p.gone.Has(number)))
			}
			if number++; len(entries) == putAtOnce || !it.HasNext() || int64(it.PeekNext()) > number+nearBy {
				break
			}
		}
		if len(entries) == putAtOnce {
			if err := t.put(entries, t.gone, t.t.Refresh); err != nil {
				return err
			}
			entries = entries[:0]
		}
	}
	return t.put(entries, t.gone, t.t.Refresh)
}

// look returns the slot of an object. known: it is the newest entry in a view, or tells that there
// is none.
func (t *table) look(v *view, oid zodb.OID) (slot current.Slot, known bool) {
	if t == nil || t.bad.Load() {
		return slot, false
	}
	slot, err := t.t.Get(oid)
	if err != nil || slot.TID > v.last() {
		return slot, false
	}
	return slot, true
}

// closeTable commits the table and closes it. Its errors do not matter: the last commit stays, and the next
// open puts the rest again. So a close on a full disk does not fail for it.
func (s *Store) closeTable() {
	t := s.table.Load()
	if t == nil || t.closed {
		return
	}
	t.closed = true
	if !t.bad.Swap(true) && t.changes > 0 && !s.unsure {
		_ = t.commit(s.now)
	}
	_ = t.t.Close()
}

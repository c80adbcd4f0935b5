package current

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Files of a table, relative to HOME.
const (
	Name      = "misc/current"
	PagesName = "misc/current.pages"
)

// ErrDamaged is matched by errors about a slot, or a table, that is not what was written. It has
// to be made again.
var ErrDamaged = errors.New("the table of current revisions is damaged")

const pageEntry = 12 // in the list of pages: the first oid / 64, 8 bytes; a checksum, 4

// Table is an open one. Get may be called concurrently, and beside the one goroutine that puts.
type Table struct {
	file, list vfs.File

	mu    sync.RWMutex
	pages map[uint64]uint32 // guarded by mu; by oid / 64

	head header // of the goroutine that puts
}

// Create makes an empty table in the place of any that is there. mark is as with [Table.Commit].
func Create(fsys vfs.FS, identity [16]byte) (*Table, error) {
	for _, name := range []string{Name, PagesName} {
		if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	t := &Table{pages: make(map[uint64]uint32), head: header{identity: identity}}
	var err error
	if t.list, err = fsys.Create(PagesName); err != nil {
		return nil, err
	}
	if t.file, err = fsys.Create(Name); err == nil {
		_, err = t.file.WriteAt(make([]byte, headerSpace), 0)
	}
	if err == nil {
		err = t.Commit(0, [32]byte{})
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Open opens a table. An error that matches ErrDamaged or fs.ErrNotExist says that it has to be
// made again.
func Open(fsys vfs.FS, identity [16]byte) (*Table, error) {
	t := &Table{pages: make(map[uint64]uint32)}
	var err error
	if t.file, err = fsys.OpenWrite(Name); err != nil {
		return nil, err
	}
	if t.list, err = fsys.OpenWrite(PagesName); err == nil {
		err = t.read(identity)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Table) read(identity [16]byte) error {
	b := make([]byte, 2*headerSize)
	if _, err := t.file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	first, ok1 := parseHeader(b)
	second, ok2 := parseHeader(b[headerSize:])
	if !ok1 && !ok2 {
		return fmt.Errorf("%w: it has no header", ErrDamaged)
	}
	if t.head = first; !ok1 || ok2 && second.sequence > first.sequence {
		t.head = second
	}
	if t.head.identity != identity {
		return fmt.Errorf("%w: it is that of the database %x", ErrDamaged, t.head.identity)
	}
	return t.readPages()
}

func (t *Table) readPages() error {
	info, err := t.list.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, info.Size/pageEntry*pageEntry)
	if _, err := t.list.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for n := uint64(0); len(b) > 0; n, b = n+1, b[pageEntry:] {
		at := binary.BigEndian.Uint64(b)
		_, twice := t.pages[at]
		if twice || binary.BigEndian.Uint32(b[8:]) != crc32.Checksum(b[:8], castagnoli) {
			if n < t.head.pages {
				return fmt.Errorf("%w: entry %d of its %d pages", ErrDamaged, n, t.head.pages)
			}
			break // of a crash, and what they have comes again
		}
		t.pages[at] = uint32(n)
	}
	if uint64(len(t.pages)) < t.head.pages {
		return fmt.Errorf("%w: %d of %d pages are listed", ErrDamaged, len(t.pages), t.head.pages)
	}
	return nil
}

// UpTo returns the transaction up to which everything is in the table, and the mark of then.
func (t *Table) UpTo() (zodb.TID, [32]byte) { return t.head.upTo, t.head.mark }

// Get returns the slot of an object; the zero Slot if it has none.
func (t *Table) Get(oid zodb.OID) (Slot, error) {
	page, ok := t.page(oid)
	if !ok {
		return Slot{}, nil
	}
	s, ok, err := t.slot(page, oid)
	if err != nil || ok {
		return s, err
	}
	// It may be that it is written just now.
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s, ok, err = t.slot(page, oid); err != nil || ok {
		return s, err
	}
	return Slot{}, fmt.Errorf("%w: the slot of object %s", ErrDamaged, oid)
}

func (t *Table) page(oid zodb.OID) (uint32, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	page, ok := t.pages[uint64(oid)/slotsInPage]
	return page, ok
}

func offsetOf(page uint32, slot uint64) int64 {
	return headerSpace + int64(page)*pageSize + int64(slot)*slotSize
}

func (t *Table) slot(page uint32, oid zodb.OID) (Slot, bool, error) {
	var b [slotSize]byte
	if _, err := t.file.ReadAt(b[:], offsetOf(page, uint64(oid)%slotsInPage)); err != nil && !errors.Is(err, io.EOF) {
		return Slot{}, false, err
	}
	// Behind the end, where a crash may have left it, is nothing.
	s, ok := parseSlot(b[:], oid)
	return s, ok, nil
}

// Entry is the slot of an object, to be put.
type Entry struct {
	OID zodb.OID
	Slot
}

// Put puts slots; a zero Slot takes that of an object away. The entries are sorted. With an
// error some of them may be there. Nothing is durable until Commit.
func (t *Table) Put(entries []Entry) error {
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(a.OID, b.OID) })
	for len(entries) > 0 {
		at := uint64(entries[0].OID) / slotsInPage
		n := 1
		for n < len(entries) && uint64(entries[n].OID)/slotsInPage == at {
			n++
		}
		if err := t.putPage(at, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

func (t *Table) putPage(at uint64, entries []Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	page, ok := t.pages[at]
	if !ok {
		if uint64(len(t.pages)) == 1<<32-1 {
			return errors.New("the table of current revisions has too many pages")
		}
		page = uint32(len(t.pages))
		b := make([]byte, pageSize)
		for _, e := range entries {
			copy(b[uint64(e.OID)%slotsInPage*slotSize:], e.append(nil, e.OID))
		}
		if _, err := t.file.WriteAt(b, offsetOf(page, 0)); err != nil {
			return err
		}
		list := binary.BigEndian.AppendUint64(nil, at)
		list = binary.BigEndian.AppendUint32(list, crc32.Checksum(list, castagnoli))
		if _, err := t.list.WriteAt(list, int64(page)*pageEntry); err != nil {
			return err
		}
		t.pages[at] = page
		return nil
	}
	var b []byte
	for k := 0; k < len(entries); { // runs of neighbours are one write
		first := entries[k].OID
		b = entries[k].append(b[:0], first)
		for k++; k < len(entries) && entries[k].OID <= entries[k-1].OID+1; k++ {
			if entries[k].OID == entries[k-1].OID { // the later one counts
				b = b[:len(b)-slotSize]
			}
			b = entries[k].append(b, entries[k].OID)
		}
		if _, err := t.file.WriteAt(b, offsetOf(page, uint64(first)%slotsInPage)); err != nil {
			return err
		}
	}
	return nil
}

// Commit makes durable what was put, and says that everything up to a transaction is in the table.
// mark is whatever the caller wants to find again.
func (t *Table) Commit(upTo zodb.TID, mark [32]byte) error {
	if err := t.file.Sync(); err != nil {
		return err
	}
	if err := t.list.Sync(); err != nil {
		return err
	}
	h := t.head
	h.sequence, h.upTo, h.pages, h.mark = h.sequence+1, upTo, uint64(len(t.pages)), mark
	if _, err := t.file.WriteAt(h.append(nil), int64(h.sequence%2)*headerSize); err != nil {
		return err
	}
	t.head = h
	return nil
}

// Close closes the files, and makes nothing durable.
func (t *Table) Close() error {
	var errs []error
	for _, f := range []vfs.File{t.file, t.list} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

package current

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Files of a table, relative to HOME.
const (
	Name      = "misc/current"
	PagesName = "misc/current.pages"
	// VersionsName says how often each page was written.
	VersionsName = "misc/current.versions"
	noteName     = "misc/current.note-"
	asideName    = "journal/aside-current"
)

func noteOf(sequence uint64) string { return noteName + string('0'+byte(sequence%2)) }

// ErrDamaged is matched by errors about a slot, or a table, whose content is not as written. It
// has to be made again.
var ErrDamaged = errors.New("the table of current revisions is damaged")

// ErrSparse says that the oids of the objects are so far apart that a table would be much larger
// than the database. Then there is not one.
var ErrSparse = errors.New("the oids are too far apart for a table of current revisions")

// A table of more than freePages, 16 MiB, has fullPage objects in a page at least, on the average.
const (
	freePages = 1 << 15
	fullPage  = 2
)

// Table is an open one. Get may be called concurrently, and beside Put; calls of Put and Commit wait
// for each other. After an error of Commit the table can only be read.
type Table struct {
	file, list vfs.File
	versions   *versions
	fs         vfs.FS
	extents    atomic.Pointer[extents]

	mu sync.RWMutex // held while a page is written

	puts    sync.Mutex
	pages   uint32 // guarded by puts, as are the next fields; those that a failed Put took included
	listed  uint32 // extents in the list
	objects uint64 // about
	head    header
	note    []byte
	held    *heldPages
	buf     []byte
	before  []byte // the page that is being put, as it was
	err     error  // of Commit, or of a Put while pages are held; it stays
}

// Create makes an empty table in the place of any that is there. It is one from the first Commit on.
func Create(fsys vfs.FS, identity [16]byte) (*Table, error) {
	if err := Remove(fsys); err != nil {
		return nil, err
	}
	t := &Table{fs: fsys, head: header{identity: identity}}
	t.extents.Store(new(extents))
	if err := t.create(); err != nil {
		return nil, errors.Join(err, t.Close(), Remove(fsys))
	}
	return t, nil
}

func (t *Table) create() (err error) {
	if t.list, err = t.fs.Create(PagesName); err != nil {
		return err
	}
	f, err := t.fs.Create(VersionsName)
	if err != nil {
		return err
	}
	t.versions = newVersions(f)
	if t.file, err = t.fs.Create(Name); err != nil {
		return err
	}
	_, err = t.file.WriteAt(make([]byte, headerSpace), 0)
	return err
}

// Remove removes the files of a table, if there is one: first the one without which the others are
// nothing.
func Remove(fsys vfs.FS) error {
	for _, name := range []string{Name, PagesName, VersionsName, noteOf(0), noteOf(1)} {
		if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Open opens a table. An error that matches ErrDamaged or fs.ErrNotExist says that it has to be
// made again, and ErrSparse that it was, and that this is of no use. One whose making was not
// finished, because the process ended, does not exist.
func Open(fsys vfs.FS, identity [16]byte) (*Table, error) {
	t := &Table{fs: fsys}
	t.extents.Store(new(extents))
	var err error
	if t.file, err = fsys.OpenWrite(Name); err != nil {
		return nil, err
	}
	var f vfs.File
	if t.list, err = fsys.OpenWrite(PagesName); err == nil {
		f, err = fsys.OpenWrite(VersionsName)
	}
	if err == nil {
		t.versions = newVersions(f)
		err = t.read(identity)
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// read reads the later of two headers with its note. After a crash it may be that the note of the
// next one took the place of that of the one before the last.
func (t *Table) read(identity [16]byte) error {
	b := make([]byte, 2*headerSize)
	if _, err := t.file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bytes.Count(b, []byte{0}) == len(b) {
		return fmt.Errorf("%s was never finished: %w", t.fs.Path(Name), fs.ErrNotExist)
	}
	reason := fmt.Errorf("%w: it has no header", ErrDamaged)
	found := false
	for len(b) > 0 {
		h, ok := parseHeader(b)
		b = b[headerSize:]
		if !ok || found && h.sequence < t.head.sequence {
			continue
		}
		if h.identity != identity {
			reason = fmt.Errorf("%w: it belongs to another database, %x", ErrDamaged, h.identity)
			continue
		}
		note, err := t.fs.ReadFile(noteOf(h.sequence))
		if err == nil && sha256.Sum256(note) != h.note {
			err = errors.New("the checksum of its note is wrong")
		}
		if err != nil {
			reason = fmt.Errorf("%w: %w", ErrDamaged, err)
			continue
		}
		t.head, t.note, found = h, note, true
	}
	if !found {
		return reason
	}
	if t.head.flags&flagSparse != 0 {
		return ErrSparse
	}
	return t.readExtents()
}

func (t *Table) readExtents() error {
	b := make([]byte, int64(t.head.extents)*extentSize)
	if info, err := t.list.Stat(); err != nil || info.Size < int64(len(b)) {
		return errors.Join(err, fmt.Errorf("%w: its list of pages is too short", ErrDamaged))
	}
	if _, err := t.list.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	list := make(extents, t.head.extents)
	for k := range list {
		var ok bool
		if list[k], ok = parseExtent(b[k*extentSize:]); !ok {
			return fmt.Errorf("%w: entry %d of its list of pages is impossible", ErrDamaged, k)
		}
	}
	list, err := list.sorted(t.head.pages)
	if err != nil {
		return err
	}
	t.extents.Store(&list)
	t.pages, t.listed, t.objects = t.head.pages, t.head.extents, t.head.objects
	return nil
}

// MostSize bounds the size of a table in bytes: of objects up to an oid, so many at most.
func MostSize(objects int64, highest uint64) int64 {
	pages := min(uint64(objects), highest/slotsInPage+1, max(freePages, uint64(objects)/fullPage)) + 1
	return headerSpace + int64(pages)*(pageSize+versionSize+extentSize)
}

// UpTo returns the transaction up to which everything is in the table, and the note of then.
func (t *Table) UpTo() (zodb.TID, []byte) {
	t.puts.Lock()
	defer t.puts.Unlock()
	return t.head.upTo, t.note
}

// Get returns the slot of an object; the zero Slot if it has none. It must not be called while pages
// are held, see [Table.Hold].
func (t *Table) Get(oid zodb.OID) (Slot, error) {
	page, ok := t.extents.Load().find(uint64(oid) / slotsInPage)
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
	return Slot{}, fmt.Errorf("%w: the slot of object %s is impossible", ErrDamaged, oid)
}

func offsetOf(page uint32) int64 { return headerSpace + int64(page)*pageSize }

func (t *Table) slot(page uint32, oid zodb.OID) (Slot, bool, error) {
	var b [pageSize]byte
	if n, err := t.file.ReadAt(b[:], offsetOf(page)); n < pageSize {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("%w: it ends before page %d", ErrDamaged, page)
		}
		return Slot{}, false, err
	}
	if ok, err := t.versions.believed(b[:], page); !ok {
		return Slot{}, false, err
	}
	s, ok := parseSlot(b[uint64(oid)%slotsInPage*slotSize:], oid)
	return s, ok, nil
}

// Commit makes the slots that were put durable, and notes that everything up to a transaction is in
// the table. note is data of the caller, which [Table.UpTo] returns.
func (t *Table) Commit(upTo zodb.TID, note []byte) error {
	t.puts.Lock()
	defer t.puts.Unlock()
	t.err = t.commit(upTo, note, 0)
	return t.err
}

// Sparse notes that there is no use in a table, so that none is tried again.
func (t *Table) Sparse() error {
	t.puts.Lock()
	defer t.puts.Unlock()
	t.err, t.held = nil, nil
	return t.commit(0, nil, flagSparse)
}

func (t *Table) commit(upTo zodb.TID, note []byte, flags uint32) error {
	if t.err != nil {
		return t.err
	}
	if err := t.letGo(); err != nil {
		return err
	}
	if t.listed != t.head.extents {
		if err := t.list.Sync(); err != nil {
			return err
		}
	}
	if err := t.file.Sync(); err != nil {
		return err
	}
	if err := t.versions.commit(); err != nil {
		return err
	}
	h := header{identity: t.head.identity, sequence: t.head.sequence + 1, upTo: upTo, pages: t.pages, extents: t.listed, objects: t.objects,
		flags: flags, note: sha256.Sum256(note)}
	if err := vfs.WriteFileAtomic(t.fs, asideName, noteOf(h.sequence), note, vfs.SyncOptions{File: true, Dir: true}); err != nil {
		return err
	}
	if _, err := t.file.WriteAt(h.append(nil), int64(h.sequence%2)*headerSize); err != nil {
		return err
	}
	// Only when it is durable the note of the one before may go, by the next Commit.
	if err := t.file.Sync(); err != nil {
		return err
	}
	t.head, t.note = h, slices.Clone(note)
	return nil
}

// Close closes the files, and makes nothing durable.
func (t *Table) Close() error {
	var errs []error
	files := []vfs.File{t.file, t.list}
	if t.versions != nil {
		files = append(files, t.versions.file)
	}
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// sparse reports whether one more page would be too many.
func (t *Table) sparse() bool {
	return t.pages >= freePages && uint64(t.pages) > t.objects/fullPage || t.pages == math.MaxUint32
}

func tidOf(slot []byte) zodb.TID { return zodb.TID(binary.BigEndian.Uint64(slot)) }

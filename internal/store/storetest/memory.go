package storetest

import (
	"cmp"
	"context"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Memory is a store that keeps everything but blobs in memory: it shows that the engine needs no
// more of a store than the interfaces say. It is of class Full, and lives as long as its process.
type Memory struct {
	fs vfs.FS // for blobs, which are moved into misc/

	mu    sync.RWMutex
	sides map[store.Side]map[layout.Name][]byte // KindObject: x.serial of the current revision
	blobs map[layout.Name]int64                 // their sizes
	aside []removed
}

var _ store.Store = (*Memory)(nil)

// removed is something that was removed with a stamp.
type removed struct {
	stamp int64
	name  layout.Name
	data  []byte
	size  int64
}

// NewMemory returns one without a transaction.
func NewMemory(f vfs.FS) *Memory {
	m := &Memory{fs: f, blobs: make(map[layout.Name]int64), sides: make(map[store.Side]map[layout.Name][]byte)}
	m.sides[store.A], m.sides[store.B] = make(map[layout.Name][]byte), make(map[layout.Name][]byte)
	for _, n := range []layout.Name{layout.XOID, layout.XSerial, layout.XPacked} {
		m.sides[store.A][n] = record.AppendX(nil, 0)
	}
	return m
}

func missing(n layout.Name) error {
	return &fs.PathError{Op: "get", Path: n.String(), Err: fs.ErrNotExist}
}

// get returns a content. mu must be held.
func (m *Memory) get(n layout.Name) ([]byte, error) {
	for _, side := range []store.Side{store.B, store.A} {
		if data, ok := m.sides[side][n]; ok {
			return data, nil
		}
	}
	return nil, missing(n)
}

// Get implements [store.Reader].
func (m *Memory) Get(n layout.Name) ([]byte, string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	data, err := m.get(n)
	return slices.Clone(data), m.Place(n), err
}

// Current implements [store.Reader].
func (m *Memory) Current(oid zodb.OID) (zodb.TID, error) {
	data, _, err := m.Get(layout.Object(oid))
	if err != nil {
		return 0, &zodb.KeyError{OID: oid}
	}
	v, err := record.ParseX(data, "")
	return zodb.TID(v), err
}

// Load implements [store.Reader].
func (m *Memory) Load(oid zodb.OID) (store.Record, error) {
	tid, err := m.Current(oid)
	if err != nil {
		return store.Record{}, err
	}
	n := layout.Revision(oid, tid)
	data, place, err := m.Get(n)
	if err != nil {
		return store.Record{}, &zodb.CorruptError{Path: place, OID: oid, TID: tid, NoObject: true, Reason: "the current revision is missing"}
	}
	return store.Record{Data: data, Place: place, Serial: tid}, nil
}

// HasData implements [store.Reader].
func (m *Memory) HasData(oid zodb.OID) (bool, error) {
	tid, err := m.Current(oid)
	if err != nil {
		return false, err
	}
	size, err := m.Stat(layout.Revision(oid, tid))
	return size > record.ObjectHeaderSize, err
}

// Stat implements [store.Reader].
func (m *Memory) Stat(n layout.Name) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if size, ok := m.blobs[n]; ok {
		return size, nil
	}
	data, err := m.get(n)
	return int64(len(data)), err
}

func blobFile(n layout.Name) string { return "misc/" + n.String() }

// OpenBlob implements [store.Reader].
func (m *Memory) OpenBlob(oid zodb.OID, tid zodb.TID) (vfs.File, string, error) {
	n := layout.Blob(oid, tid)
	if _, err := m.Stat(n); err != nil {
		return nil, blobFile(n), err
	}
	f, err := m.fs.Open(blobFile(n))
	return f, blobFile(n), err
}

// Mark implements [store.Reader].
func (m *Memory) Mark(n layout.Name) (uint64, error) {
	data, place, err := m.Get(n)
	if err != nil {
		return 0, &zodb.CorruptError{Path: place, Reason: "it is missing"}
	}
	return record.ParseX(data, place)
}

// Place implements [store.Reader].
func (m *Memory) Place(n layout.Name) string { return "memory/" + n.String() }

// names returns all names, sorted. mu must be held.
func (m *Memory) names(sides ...store.Side) []layout.Name {
	set := make(map[layout.Name]bool)
	for _, side := range sides {
		for n := range m.sides[side] {
			set[n] = true
		}
	}
	list := make([]layout.Name, 0, len(set)+len(m.blobs))
	for n := range set {
		list = append(list, n)
	}
	for n := range m.blobs {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b layout.Name) int { return cmp.Compare(a.String(), b.String()) })
	return list
}

// Names implements [store.Lister].
func (m *Memory) Names(ctx context.Context, kinds ...layout.Kind) iter.Seq2[layout.Name, error] {
	return func(yield func(layout.Name, error) bool) {
		m.mu.RLock()
		list := m.names(store.B, store.A)
		m.mu.RUnlock()
		for _, n := range list {
			if err := ctx.Err(); err != nil {
				yield(layout.Name{}, err)
				return
			}
			if slices.Contains(kinds, n.Kind) && !yield(n, nil) {
				return
			}
		}
	}
}

// Objects implements [store.Lister].
func (m *Memory) Objects(ctx context.Context) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		for n, err := range m.Names(ctx, layout.KindObject) {
			if !yield(n.OID, err) {
				return
			}
		}
	}
}

// NextOID implements [store.Lister].
func (m *Memory) NextOID(ctx context.Context, from zodb.OID) (next zodb.OID, found bool, err error) {
	for n, err := range m.Names(ctx, layout.KindObject, layout.KindRevision) {
		if err != nil {
			return 0, false, err
		}
		if n.OID >= from && (!found || n.OID < next) {
			next, found = n.OID, true
		}
	}
	return next, found, nil
}

// OlderRevision implements [store.Lister].
func (m *Memory) OlderRevision(oid zodb.OID, before zodb.TID) (older zodb.TID, err error) {
	for n := range m.Names(context.Background(), layout.KindRevision) {
		if n.OID == oid && n.TID < before {
			older = max(older, n.TID)
		}
	}
	return older, nil
}

// OlderTransaction implements [store.Lister].
func (m *Memory) OlderTransaction(before zodb.TID) (older zodb.TID, err error) {
	for n := range m.Names(context.Background(), layout.KindTransaction) {
		if n.TID < before {
			older = max(older, n.TID)
		}
	}
	return older, nil
}

// Count implements [store.Lister].
func (m *Memory) Count(_ context.Context, sides ...store.Side) (n store.Counts, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, name := range m.names(sides...) {
		data, _ := m.get(name)
		count(&n, name, int64(len(data)), m.blobs[name])
	}
	return n, nil
}

func count(n *store.Counts, name layout.Name, size, blob int64) {
	switch name.Kind {
	case layout.KindObject:
		n.Objects++
		return
	case layout.KindRevision:
		n.Revisions++
	case layout.KindTransaction:
		n.Transactions++
	case layout.KindBlob:
		n.Blobs++
		n.BlobBytes += blob
		size = blob
	default:
		return
	}
	n.Bytes += size
}

// BlobFiles implements [store.Filer].
func (m *Memory) BlobFiles(oid zodb.OID, tid zodb.TID) []string {
	return []string{blobFile(layout.Blob(oid, tid))}
}

// Files implements [store.Filer]: there are none.
func (m *Memory) Files(context.Context) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}

// FilesSince implements [store.Filer].
func (m *Memory) FilesSince(ctx context.Context, _ zodb.TID, _ func(string) bool, _ func(string)) iter.Seq2[string, error] {
	return m.Files(ctx)
}

// Removed implements [store.Filer].
func (m *Memory) Removed() (r store.Removed, inside bool) { return r, false }

// Weigh implements [store.Filer].
func (m *Memory) Weigh(context.Context) (r store.Removed, err error) { return r, nil }

// Space implements [store.Filer].
func (m *Memory) Space(context.Context) (store.Space, error) { return store.Space{}, nil }

// Put implements [store.Writer].
func (m *Memory) Put(side store.Side, batch []store.Transaction, p *store.Progress) error {
	p.Expect(int64(len(batch)))
	for _, c := range batch {
		if err := m.transaction(side, c); err != nil {
			return err
		}
		p.Add(1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sides[side][layout.XOID] = record.AppendX(nil, uint64(batch[len(batch)-1].HighestOID()))
	return nil
}

func (m *Memory) transaction(side store.Side, c store.Transaction) error {
	text, err := c.AppendTransaction(nil)
	if err != nil {
		return err
	}
	for i := range c.Len() {
		data, err := c.AppendRevision(nil, i)
		if err != nil {
			return err
		}
		r := c.Revision(i)
		n := layout.Blob(r.OID, c.TID())
		if r.Blob != "" {
			if err := m.fs.Rename(r.Blob, blobFile(n)); err != nil {
				if _, serr := m.fs.Stat(blobFile(n)); serr != nil {
					return err
				}
			}
		}
		m.mu.Lock()
		if r.Blob != "" {
			m.blobs[n] = r.BlobSize
		}
		m.sides[side][layout.Revision(r.OID, c.TID())] = data
		m.sides[side][layout.Object(r.OID)] = record.AppendX(nil, uint64(c.TID()))
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sides[side][layout.Transaction(c.TID())] = text
	return nil
}

func (m *Memory) set(side store.Side, n layout.Name, v uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sides[side][n] = record.AppendX(nil, v)
	return nil
}

// SumKind implements [store.Writer].
func (m *Memory) SumKind() record.SumKind { return record.XXH64 }

// SetLast implements [store.Writer].
func (m *Memory) SetLast(side store.Side, tid zodb.TID) error {
	return m.set(side, layout.XSerial, uint64(tid))
}

// Sync implements [store.Writer].
func (m *Memory) Sync() error { return nil }

// Failure implements [store.Writer].
func (m *Memory) Failure() error { return nil }

// RaiseFloor implements [store.Freezer].
func (m *Memory) RaiseFloor(moment time.Time) (time.Time, error) { return moment, nil }

// FloorLost implements [store.Freezer].
func (m *Memory) FloorLost() bool { return false }

// UseB implements [store.Freezer].
func (m *Memory) UseB() {}

// LastInA implements [store.Freezer].
func (m *Memory) LastInA() (zodb.TID, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, err := record.ParseX(m.sides[store.A][layout.XSerial], "")
	return zodb.TID(v), err
}

// Thaw implements [store.Freezer].
func (m *Memory) Thaw(limit int) (moved int, empty bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, data := range m.sides[store.B] {
		if moved == limit {
			return moved, false, nil
		}
		m.sides[store.A][n] = data
		delete(m.sides[store.B], n)
		moved++
	}
	return moved, true, nil
}

// Cost implements [store.Tender].
func (m *Memory) Cost(o store.Outline) store.Cost {
	c := store.Cost{Work: 1 + o.Records, Bytes: int64(o.Meta), Inodes: 0}
	o.Each(func(size int64, _, _ bool) { c.Bytes += size })
	return c
}

// SyncFound implements [store.Tender].
func (m *Memory) SyncFound() error { return nil }

// Damaged implements [store.Tender].
func (m *Memory) Damaged() []string { return nil }

// LostLists implements [store.Tender].
func (m *Memory) LostLists() []string { return nil }

// Tend implements [store.Tender].
func (m *Memory) Tend(store.Tending) (store.Chore, error) { return nil, nil }

// Close implements [store.Tender]. It can be opened again.
func (m *Memory) Close() error { return nil }

package estimate

import (
	"math"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// counts are the parts of a database that take up space.
type counts struct {
	transactions int64
	revisions    int64
	objects      int64
	dataBytes    int64 // of records
	listBytes    int64 // of the files of transactions
	fileBytes    int64 // of revisions and transactions in blocks
	blobs        int64
	blobBytes    int64
	blobDisk     int64
}

// tally counts the parts of a source in the order of its transactions.
type tally struct {
	counts
	place  *Place
	oids   *oidset.Set
	blobs  *oidset.Set // objects with blobs
	trees  map[layout.Format]*tree
	noRoom bool // there were too many objects to be told apart
}

// oidMemory bounds the memory for each set of oids.
const oidMemory = 256 << 20

func newTally(p *Place) *tally {
	t := &tally{place: p, oids: oidset.New(oidMemory), blobs: oidset.New(oidMemory), trees: make(map[layout.Format]*tree)}
	for _, f := range layout.Formats() {
		t.trees[f] = &tree{place: p}
	}
	return t
}

func (t *tally) transaction(tid zodb.TID, meta zodb.TxnMeta, records int64) {
	size := record.TransactionHeaderSize + int64(len(meta.User)+len(meta.Description)+len(meta.Extension)) + 8*records
	t.transactions++
	t.listBytes += size
	t.fileBytes += t.place.file(size)
	for f, tr := range t.trees {
		tr.add(f.Path(layout.Transaction(tid)), 0, 0)
	}
}

func (t *tally) record(rec zodb.Record) {
	t.revisions++
	t.dataBytes += int64(len(rec.Data))
	t.fileBytes += t.place.file(record.ObjectHeaderSize + int64(len(rec.Data)))
	ok, fresh := t.oids.Add(rec.OID)
	if fresh {
		t.objects++
	}
	t.noRoom = t.noRoom || !ok
}

func (t *tally) blob(oid zodb.OID, size int64) {
	t.counts.blobs++
	t.blobBytes += size
	t.blobDisk += t.place.file(size)
	t.blobs.Add(oid)
}

// size is the space of a HOME, or of a part of it.
type size struct{ bytes, inodes int64 }

func (s size) plus(o size) size  { return size{s.bytes + o.bytes, s.inodes + o.inodes} }
func (s size) minus(o size) size { return size{s.bytes - o.bytes, s.inodes - o.inodes} }

// scaled is a part of a source that was not read whole, by the part that was.
func (s size) scaled(by float64) size {
	return size{int64(float64(s.bytes) * by), int64(float64(s.inodes) * by)}
}

// classic is the space of A in a classic format, without the marks x.….
func (t *tally) classic(f layout.Format) size {
	objects := &tree{place: t.place}
	revisions := 0.0
	if t.objects > 0 {
		revisions = float64(t.revisions) / float64(t.objects)
	}
	if t.counts.blobs > 0 {
		revisions += float64(t.counts.blobs) / float64(t.objects)
	}
	var dirs, dirBytes int64
	if f != layout.Flat {
		extra := fileName(f.Path(layout.Revision(math.MaxUint64>>1, math.MaxUint64>>1)))
		for oid := range t.oids.Each() {
			objects.add(f.Path(layout.Pointer(oid)), extra, revisions)
		}
		dirs, dirBytes = objects.sum()
	} else {
		pointer, revision := len(layout.Pointer(0).String()), len(layout.Revision(0, 0).String())
		objects.root = t.objects*entry(pointer) + (t.revisions+t.counts.blobs)*entry(revision)
	}
	txnDirs, txnDirBytes := t.trees[f].sum()
	dirs += txnDirs
	dirBytes += txnDirBytes + t.place.directory(objects.root+t.trees[f].root)
	files := t.objects + t.revisions + t.transactions + t.counts.blobs
	bytes := t.fileBytes + t.objects*t.place.file(record.PointerSize) + t.blobDisk + dirBytes
	return size{bytes + (files+dirs)*t.place.InodeBytes, files + dirs}
}

const (
	// pageObjects and pageBytes are those of the table of current revisions, see docs/format.md.
	pageObjects  = 15
	pageBytes    = 512
	versionBytes = 8
	tableHead    = 4096
	// bundleMembers is how many revisions and transactions an import puts into a bundle.
	bundleMembers = 1 << 18
)

// bundled is the space of A and of the table in the format bundled, without the marks. ratio is the
// space of bundles for each weight.
func (t *tally) bundled(ratio float64) size {
	var s size
	members := t.revisions + t.transactions
	bundles := (members + bundleMembers - 1) / bundleMembers
	s.inodes, s.bytes = bundles, t.place.dirBytes
	s.bytes += int64(float64(t.weight())*ratio) + bundles*t.place.BlockBytes/2
	pages, last := int64(0), zodb.OID(math.MaxUint64)
	for oid := range t.oids.Each() {
		if page := oid / pageObjects; page != last {
			last = page
			pages++
		}
	}
	if pages > 0 {
		s.bytes += t.place.file(tableHead+pages*pageBytes) + t.place.file(pages*versionBytes)
	}
	if t.counts.blobs > 0 {
		blobs := &tree{place: t.place}
		revision := fileName(layout.Bundled.Path(layout.Blob(0, 0)))
		for oid := range t.blobs.Each() {
			blobs.add(layout.Bundled.Path(layout.Blob(oid, 0)), revision, 0)
		}
		dirs, bytes := blobs.sum()
		s.bytes += bytes + t.blobDisk
		s.inodes += dirs + t.counts.blobs
	}
	s.bytes += s.inodes * t.place.InodeBytes
	return s
}

// memberWeight is about the share of a member of a bundle that does not depend on its content:
// headers and the index.
const memberWeight = 100

// weight is in proportion to the size of bundles.
func (c *counts) weight() int64 {
	return c.dataBytes + c.listBytes + memberWeight*(c.revisions+c.transactions)
}

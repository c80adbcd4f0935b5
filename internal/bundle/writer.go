package bundle

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// DefaultFrameSize is how much tar a frame holds, in bytes. It is a trade of loads, which decode
// a whole frame, against size; docs/decisions has the measurements.
const DefaultFrameSize = 10 << 10

// leastFrameSize and mostFrameSize keep the places within a frame in 16 bits.
const (
	leastFrameSize = 1 << 10
	mostFrameSize  = 16 << 20
)

// Options of [NewWriter].
type Options struct {
	Identity   [16]byte
	Min, Max   zodb.TID // the range; Max 0: the last transaction that is written
	Generation uint64
	Previous   zodb.TID
	HighestOID zodb.OID

	FrameSize int // bytes of tar in a frame; 0: DefaultFrameSize
	Workers   int // frames that are compressed at the same time; 0: one
	Ahead     int // bytes of tar that may wait for that; some frames for each worker may in any case
}

// Writer writes a bundle. Members come in order: the revisions of a transaction, then the
// transaction, each with a later tid than the one before. Errors stay. Either
// [Writer.Close] or [Writer.Abort] must be called.
type Writer struct {
	o      Options
	frames *frameWriter
	buf    []byte // of the frame that is being filled
	frame  uint32 // its number

	revisions    []Revision // in order of tid, until Close
	transactions []Transaction
	carried      []carriedMember
	open         zodb.TID // whose revisions were written, and not itself; 0: none
	first        Place    // of its first member: Frame and Block
	last         zodb.TID // transaction
	blobs        int64
	size         int64 // of the members
	err          error
}

// NewWriter begins a bundle. w is not closed.
func NewWriter(w io.Writer, o Options) (*Writer, error) {
	if o.FrameSize == 0 {
		o.FrameSize = DefaultFrameSize
	}
	if o.FrameSize < leastFrameSize || o.FrameSize > mostFrameSize {
		return nil, fmt.Errorf("frames of %d bytes: they may have %d to %d", o.FrameSize, leastFrameSize, mostFrameSize)
	}
	f, err := newFrameWriter(w, o.FrameSize, max(1, o.Workers), o.Ahead)
	if err != nil {
		return nil, err
	}
	return &Writer{o: o, frames: f}, nil
}

// Revision adds the file of a revision. flags are FlagGone, FlagBlob and FlagUndo.
func (w *Writer) Revision(oid zodb.OID, tid zodb.TID, flags uint16, content []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.open == 0 && tid > w.last {
		w.open = tid
	} else if tid != w.open {
		return w.fail(fmt.Errorf("revision %s of %s is out of order: the transaction before is %s, and %s is open", tid, oid, w.last, w.open))
	}
	p, err := w.add(layout.Revision(oid, tid), content)
	if err != nil {
		return err
	}
	if p.Flags = flags; flags&FlagBlob != 0 {
		w.blobs++
	}
	if len(w.revisions) == 0 || w.revisions[len(w.revisions)-1].TID != tid {
		w.first = p
	}
	w.revisions = append(w.revisions, Revision{OID: oid, TID: tid, Place: p})
	return nil
}

// Transaction adds the file of a transaction, behind its revisions. flags are FlagPacked.
func (w *Writer) Transaction(tid zodb.TID, flags uint16, content []byte) error {
	if w.err != nil {
		return w.err
	}
	if w.open != 0 && tid != w.open || tid <= w.last {
		return w.fail(fmt.Errorf("transaction %s is out of order: the one before is %s, and %s is open", tid, w.last, w.open))
	}
	p, err := w.add(layout.Transaction(tid), content)
	if err != nil {
		return err
	}
	if w.open == 0 {
		w.first = p
	}
	p.Flags = flags
	w.transactions = append(w.transactions, Transaction{TID: tid, Place: p, FirstFrame: w.first.Frame, FirstBlock: w.first.Block - 1})
	w.open, w.last = 0, tid
	return nil
}

// WithoutTransaction ends the revisions of a transaction of which the file itself is lost.
func (w *Writer) WithoutTransaction() {
	if w.open != 0 {
		w.open, w.last = 0, w.open
	}
}

// SetHighestOID sets Options.HighestOID, where it is not known at the beginning.
func (w *Writer) SetHighestOID(oid zodb.OID) { w.o.HighestOID = oid }

// Size returns how many bytes the members have that were written, before compression.
func (w *Writer) Size() int64 { return w.size }

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

func (w *Writer) add(n layout.Name, content []byte) (Place, error) {
	if int64(len(content)) > maxContent {
		return Place{}, w.fail(fmt.Errorf("%s has %d bytes; the limit is %d", n, len(content), int64(maxContent)))
	}
	if n.TID < w.o.Min || w.o.Max != 0 && n.TID > w.o.Max {
		return Place{}, w.fail(fmt.Errorf("%s is not within the range %s to %s of the bundle", n, w.o.Min, w.o.Max))
	}
	if len(w.buf) > 0 && len(w.buf)+tarBlock+padded(len(content)) > w.o.FrameSize {
		if err := w.cut(); err != nil {
			return Place{}, err
		}
	}
	p := Place{Frame: w.frame, Block: uint16(len(w.buf)/tarBlock + 1), Length: uint32(len(content))}
	w.buf = appendMember(w.buf, n, content)
	w.size += int64(len(content))
	return p, nil
}

// cut ends the frame.
func (w *Writer) cut() error {
	if len(w.buf) == 0 {
		return nil
	}
	if w.frame++; w.frame == 0 {
		return w.fail(errors.New("the bundle has too many frames"))
	}
	buf, err := w.frames.put(w.buf)
	w.buf = buf
	if err != nil {
		return w.fail(err)
	}
	return nil
}

// Close writes the rest of the members, the index and the footer.
func (w *Writer) Close() (Info, error) {
	if w.open != 0 {
		w.fail(fmt.Errorf("the transaction %s was not written", w.open))
	}
	if err := w.cut(); err != nil {
		w.Abort()
		return Info{}, err
	}
	frames, end, err := w.frames.close()
	if err != nil {
		return Info{}, w.fail(err)
	}
	slices.SortFunc(w.revisions, func(a, b Revision) int {
		return cmp.Or(cmp.Compare(a.OID, b.OID), cmp.Compare(a.TID, b.TID))
	})
	i := Info{
		Identity: w.o.Identity, Min: w.o.Min, Max: cmp.Or(w.o.Max, w.last), Generation: w.o.Generation, Previous: w.o.Previous, HighestOID: w.o.HighestOID,
		Revisions: int64(len(w.revisions)), Transactions: int64(len(w.transactions)), Frames: int64(len(frames)), Blobs: w.blobs, dataEnd: end,
	}
	if i.Min == 0 || i.Min > i.Max || i.Previous >= i.Min {
		return Info{}, w.fail(fmt.Errorf("a bundle cannot reach from %s to %s and follow %s", i.Min, i.Max, i.Previous))
	}
	list, err := w.list()
	if err != nil {
		return Info{}, w.fail(err)
	}
	x := &indexWriter{w: w.frames.w, sum: sha256.New(), at: end, info: &i}
	x.sections(w.revisions, w.transactions, frames, list)
	x.write(i.append(nil))
	if x.err != nil {
		return Info{}, w.fail(x.err)
	}
	w.err = errors.New("the bundle is closed")
	return i, nil
}

// Abort gives the bundle up. After Close it does nothing.
func (w *Writer) Abort() {
	w.fail(errors.New("the bundle was given up"))
	w.frames.abort()
}

// indexWriter writes the sections of the index.
type indexWriter struct {
	w      io.Writer
	sum    hash.Hash
	at     int64
	info   *Info
	fences []fence
	err    error
}

func (x *indexWriter) write(b []byte) {
	if x.err == nil {
		_, x.err = x.w.Write(b)
	}
	x.sum.Write(b)
	x.at += int64(len(b))
}

// sections writes all of them and the list, if there is one, and notes in the footer's Info where they are
// and their sum.
func (x *indexWriter) sections(revisions []Revision, transactions []Transaction, frames []Frame, list []byte) {
	writeSection(x, sectionRevisions, len(revisions), func(b []byte, k int) []byte { return revisions[k].append(b) })
	writeSection(x, sectionTransactions, len(transactions), func(b []byte, k int) []byte { return transactions[k].append(b) })
	writeSection(x, sectionFrames, len(frames), func(b []byte, k int) []byte { return frames[k].append(b) })
	writeSection(x, sectionFences, len(x.fences), func(b []byte, k int) []byte { return x.fences[k].append(b) })
	if x.info.listSize = int64(len(list)); len(list) > 0 {
		x.write(appendSkippable(nil, int64(len(list))))
		x.write(list)
	}
	x.info.Sum = [sha256.Size]byte(x.sum.Sum(nil))
}

func writeSection(x *indexWriter, section, n int, appendEntry func(b []byte, k int) []byte) {
	size := int64(n) * entrySize(section)
	if size > 1<<32-1 {
		x.err = cmp.Or(x.err, fmt.Errorf("the bundle has too many entries: %d", n))
		return
	}
	x.write(appendSkippable(nil, size))
	x.info.sections[section] = x.at
	var block []byte
	for k := 0; k < n; {
		block = block[:0]
		for end := min(n, k+int(inBlock(section))); k < end; k++ {
			block = appendEntry(block, k)
		}
		if section != sectionFences {
			x.fences = append(x.fences, fence{keyOf(section, block), checksum(block)})
		} else {
			x.info.fences = crc32.Update(x.info.fences, castagnoli, block)
		}
		x.write(block)
	}
}

package pack

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"
	"math"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// The file of a plan:
//
//	magic    8 bytes
//	header   length as uvarint, JSON
//	entries  kind (1 the whole object, 2 some revisions), oid, number of tids, the
//	         lowest tid, the distances from one to the next: all of them uvarints
//	end      kind 0, number of entries as uvarint, CRC-32C of all before, 4 bytes big-endian
const planMagic = "DSpack1\n"

// maxTIDs is how many revisions an entry can have. More of an object become
// several entries, oldest first, if it stays; of one that goes they must be one.
const maxTIDs = 1 << 24

// Header describes a plan as a whole.
type Header struct {
	// Identity is that of the storage.
	Identity string `json:"identity"`
	// Threshold is the pack time, which x.packed shall be at least.
	Threshold zodb.TID `json:"threshold"`
	// Stamp is when the pack removes, in seconds since 1970: it is a part of the
	// names of files that are put aside.
	Stamp int64 `json:"stamp"`
	// Oldest is the oldest transaction that stays in any case: the one that is not before
	// the threshold, or one of the two newest. 0 = there is none.
	Oldest zodb.TID `json:"oldest"`
	// Last is the last transaction of A when the plan was made, and Sum the SHA-256 of
	// its file, bytes 24 to 31 taken as zero: the plan is of no other A than one that
	// has this transaction.
	Last zodb.TID `json:"last"`
	Sum  []byte   `json:"sum"`
	// Undoable: no transaction before Oldest stays, even if revisions of it do.
	Undoable bool `json:"undoable,omitempty"`
}

// Entry lists the victims of one object.
type Entry struct {
	OID zodb.OID
	// Whole: the object goes, with its pointer.
	Whole bool
	// TIDs are the revisions that go, oldest first, at least one.
	TIDs []zodb.TID
}

const (
	kindEnd = iota
	kindWhole
	kindSome
)

// Writer writes a plan. It must not be used concurrently.
type Writer struct {
	w     *bufio.Writer
	sum   hash.Hash32
	buf   []byte
	count uint64
}

// NewWriter begins a plan.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	sum := crc32.New(castagnoli())
	pw := &Writer{w: bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10), sum: sum}
	pw.buf = append(pw.buf, planMagic...)
	pw.buf = binary.AppendUvarint(pw.buf, uint64(len(head)))
	pw.buf = append(pw.buf, head...)
	_, err = pw.w.Write(pw.buf)
	return pw, err
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Add adds an entry.
func (w *Writer) Add(e Entry) error {
	if len(e.TIDs) == 0 || len(e.TIDs) > maxTIDs {
		return fmt.Errorf("an entry of the plan of a pack has %s, want 1 to %d", human.Number(int64(len(e.TIDs)), "revision"), maxTIDs)
	}
	kind := byte(kindSome)
	if e.Whole {
		kind = kindWhole
	}
	b := append(w.buf[:0], kind)
	b = binary.AppendUvarint(b, uint64(e.OID))
	b = binary.AppendUvarint(b, uint64(len(e.TIDs)))
	last := zodb.TID(0)
	for i, tid := range e.TIDs {
		if i > 0 && tid <= last {
			return fmt.Errorf("revisions of object %s in the plan of a pack do not ascend: %s after %s", e.OID, tid, last)
		}
		b = binary.AppendUvarint(b, uint64(tid-last))
		last = tid
	}
	w.buf = b
	w.count++
	_, err := w.w.Write(b)
	return err
}

// Close writes the end. The file is the caller's to make durable.
func (w *Writer) Close() error {
	b := binary.AppendUvarint(append(w.buf[:0], kindEnd), w.count)
	if _, err := w.w.Write(b); err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	if _, err := w.w.Write(binary.BigEndian.AppendUint32(nil, w.sum.Sum32())); err != nil {
		return err
	}
	return w.w.Flush()
}

// ErrBadPlan is matched by the errors about a file that is not a whole plan.
var ErrBadPlan = errors.New("not the whole plan of a pack")

// Read returns the header of a plan and an iterator over its entries, which may be
// used once and which ends with an error unless the file is whole. TIDs of an
// entry are valid until the next one. Errors match ErrBadPlan, unless they are of r.
func Read(r io.Reader) (Header, iter.Seq2[Entry, error], error) {
	pr := &reader{r: bufio.NewReaderSize(r, 64<<10), sum: crc32.New(castagnoli())}
	h, err := pr.header()
	if err != nil {
		return Header{}, nil, pr.bad(err)
	}
	return h, func(yield func(Entry, error) bool) {
		for {
			e, more, err := pr.entry()
			if err != nil {
				yield(Entry{}, pr.bad(err))
				return
			}
			if !more || !yield(e, nil) {
				return
			}
		}
	}, nil
}

type reader struct {
	r     *bufio.Reader
	err   error // the file could not be read
	sum   hash.Hash32
	one   [1]byte
	tids  []zodb.TID
	count uint64
}

// bad tells a plan that is not whole from one that cannot be read.
func (r *reader) bad(err error) error {
	if r.err != nil {
		return fmt.Errorf("read the plan of a pack: %w", r.err)
	}
	return fmt.Errorf("%w: %w", ErrBadPlan, err)
}

// ReadByte reads one byte into the checksum; binary.ReadUvarint wants it.
func (r *reader) ReadByte() (byte, error) {
	b, err := r.next()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		r.one[0] = b
		_, _ = r.sum.Write(r.one[:]) // never an error
	}
	return b, err
}

func (r *reader) next() (byte, error) {
	b, err := r.r.ReadByte()
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return b, err
}

func (r *reader) header() (h Header, err error) {
	magic := make([]byte, len(planMagic))
	if err := r.full(magic); err != nil {
		return h, err
	}
	if string(magic) != planMagic {
		return h, fmt.Errorf("it begins with %q", magic)
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return h, err
	}
	if n > 64<<10 {
		return h, fmt.Errorf("a header of %d bytes", n)
	}
	text := make([]byte, n)
	if err := r.full(text); err != nil {
		return h, err
	}
	return h, json.Unmarshal(text, &h)
}

func (r *reader) full(b []byte) error {
	for i := range b {
		c, err := r.ReadByte()
		if err != nil {
			return err
		}
		b[i] = c
	}
	return nil
}

func (r *reader) entry() (e Entry, more bool, err error) {
	kind, err := r.ReadByte()
	if err != nil {
		return e, false, err
	}
	switch kind {
	case kindEnd:
		return e, false, r.end()
	case kindWhole, kindSome:
		e.Whole = kind == kindWhole
	default:
		return e, false, fmt.Errorf("an entry of kind %d", kind)
	}
	var numbers [2]uint64
	for i := range numbers {
		if numbers[i], err = binary.ReadUvarint(r); err != nil {
			return e, false, err
		}
	}
	e.OID = zodb.OID(numbers[0])
	if numbers[1] == 0 || numbers[1] > maxTIDs {
		return e, false, fmt.Errorf("an entry has the number of revisions %d, want 1 to %d", numbers[1], maxTIDs)
	}
	r.tids = r.tids[:0]
	last := zodb.TID(0)
	for i := range numbers[1] {
		d, err := binary.ReadUvarint(r)
		if err != nil {
			return e, false, err
		}
		if i > 0 && d == 0 || d > math.MaxUint64-uint64(last) {
			return e, false, fmt.Errorf("revisions of object %s do not ascend", e.OID)
		}
		last += zodb.TID(d)
		r.tids = append(r.tids, last)
	}
	e.TIDs = r.tids
	r.count++
	return e, true, nil
}

func (r *reader) end() error {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return err
	}
	if n != r.count {
		return fmt.Errorf("%s instead of %d", human.Plural(int64(r.count), "entry", "entries"), n)
	}
	want := r.sum.Sum32()
	var b [4]byte
	for i := range b {
		if b[i], err = r.next(); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	if got := binary.BigEndian.Uint32(b[:]); got != want {
		return fmt.Errorf("checksum %08X instead of %08X", got, want)
	}
	if _, err := r.next(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}

package bundle

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// Reader reads a bundle. It keeps the fences of the index in memory: 20 bytes for
// 146 revisions. Errors about the content are *zodb.CorruptError with the path.
type Reader struct {
	Info
	r       io.ReaderAt
	size    int64
	path    string
	fences  [3][]fence // of the sections
	carried *Gone      // nil: it has no list
	// rebuilt: the index is not that of the file, see [Rebuild].
	rebuilt bool
	tarEnd  int64 // of one that is rebuilt and complete
	// lost: it is rebuilt, and the list that it carried is damaged.
	lost bool
	// unknown: it is rebuilt, and nobody knows whether it carried one.
	unknown bool
	// newer: it is rebuilt, and the list that it carries is of a newer release.
	newer *layout.NewerError
}

// Open reads the footer and the fences of a bundle of a size in bytes. The path is for errors.
// Nothing is closed.
func Open(r io.ReaderAt, size int64, path string) (*Reader, error) {
	b := &Reader{r: r, size: size, path: path}
	if size < FooterSize {
		return nil, b.corrupt(0, nil, "the file has %d bytes, and the footer alone has %d", size, FooterSize)
	}
	foot := make([]byte, FooterSize)
	if err := b.readAt(foot, size-FooterSize); err != nil {
		return nil, err
	}
	var err error
	if b.Info, err = parseFooter(foot, size); err != nil {
		if err := newer(err, path); err != nil {
			return nil, err
		}
		return nil, b.corrupt(size-FooterSize, err, "the footer is damaged")
	}
	if err := b.readFences(); err != nil {
		return b, err
	}
	return b, b.readList()
}

func (r *Reader) corrupt(offset int64, err error, format string, args ...any) error {
	return &zodb.CorruptError{Path: r.path, Offset: offset, Reason: fmt.Sprintf(format, args...), Err: err}
}

func (r *Reader) readAt(b []byte, at int64) error {
	n, err := r.r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return r.corrupt(at, nil, "the file ends after %d of %d bytes", n, len(b))
	}
	return fmt.Errorf("read %s at %d: %w", r.path, at, err)
}

// readFences reads and checks them: each section's keys grow.
func (r *Reader) readFences() error {
	at := r.sections[sectionFences]
	b := make([]byte, fenceSize*(blocksOf(sectionRevisions, r.Revisions)+blocksOf(sectionTransactions, r.Transactions)+blocksOf(sectionFrames, r.Frames)))
	if err := r.readAt(b, at); err != nil {
		return err
	}
	if got := checksum(b); got != r.Info.fences {
		return r.corrupt(at, nil, "the fences of the index have the checksum %08x, and the footer says %08x", got, r.Info.fences)
	}
	for section, n := range []int64{r.Revisions, r.Transactions, r.Frames} {
		list := make([]fence, blocksOf(section, n))
		for k := range list {
			list[k] = parseFence(b)
			b = b[fenceSize:]
			if k > 0 && !list[k-1].less(list[k].key) {
				return r.corrupt(at, nil, "the fences of section %d of the index are out of order", section)
			}
		}
		r.fences[section] = list
	}
	return nil
}

// block reads a block of a section, and checks it.
func (r *Reader) block(section int, k int64, dst []byte) ([]byte, error) {
	count := []int64{r.Revisions, r.Transactions, r.Frames}[section]
	n := min(inBlock(section), count-k*inBlock(section)) * entrySize(section)
	at := r.sections[section] + k*inBlock(section)*entrySize(section)
	if int64(cap(dst)) < n {
		dst = make([]byte, inBlock(section)*entrySize(section))
	}
	dst = dst[:n]
	if err := r.readAt(dst, at); err != nil {
		return nil, err
	}
	f := r.fences[section][k]
	if got := checksum(dst); got != f.sum {
		return nil, r.corrupt(at, nil, "block %d of section %d of the index has the checksum %08x, and its fence says %08x", k, section, got, f.sum)
	}
	if keyOf(section, dst) != f.key {
		return nil, r.corrupt(at, nil, "block %d of section %d of the index does not begin with the key of its fence", k, section)
	}
	return dst, nil
}

// blocks keeps buffers of blocks.
var blocks = sync.Pool{New: func() any { return new([placesInBlock * placeSize]byte) }}

// last returns the last entry of a section whose key is not greater than one, and its number.
func (r *Reader) last(section int, k key, found func(entry []byte)) (int64, error) {
	at := r.blockOf(section, k)
	if at < 0 {
		return -1, nil
	}
	buf := blocks.Get().(*[placesInBlock * placeSize]byte)
	defer blocks.Put(buf)
	b, err := r.block(section, at, buf[:])
	if err != nil {
		return 0, err
	}
	return lastIn(b, section, at, k, found), nil
}

// Latest returns the newest revision of an object up to a tid, and its number in the index; -1: the
// bundle has none.
func (r *Reader) Latest(oid zodb.OID, tid zodb.TID) (e Revision, number int64, err error) {
	number, err = r.last(sectionRevisions, key{uint64(oid), uint64(tid)}, func(b []byte) { e = parseRevision(b) })
	if err != nil || number < 0 || e.OID != oid {
		return Revision{}, -1, err
	}
	return e, number, r.checkPlace(e.Place, e.Name())
}

// Find returns one revision, and its number; -1: the bundle does not have it.
func (r *Reader) Find(oid zodb.OID, tid zodb.TID) (Revision, int64, error) {
	e, number, err := r.Latest(oid, tid)
	if err != nil || e.TID != tid {
		return Revision{}, -1, err
	}
	return e, number, nil
}

// LatestTransaction returns the newest transaction up to a tid, and its number; -1: there is none.
func (r *Reader) LatestTransaction(tid zodb.TID) (e Transaction, number int64, err error) {
	number, err = r.last(sectionTransactions, key{first: uint64(tid)}, func(b []byte) { e = parseTransaction(b) })
	if err != nil || number < 0 {
		return Transaction{}, -1, err
	}
	return e, number, r.checkPlace(e.Place, e.Name())
}

func (r *Reader) checkPlace(p Place, n layout.Name) error {
	if int64(p.Frame) >= r.Frames || p.Block == 0 || p.Flags&^uint16(allFlags) != 0 {
		return r.corrupt(r.sections[sectionRevisions], nil, "the index has an impossible place for %s: %+v", n, p)
	}
	if !r.contains(n.TID) {
		return r.corrupt(r.sections[sectionRevisions], nil, "the index has %s, which is not within the range %s to %s of the bundle", n, r.Min, r.Max)
	}
	return nil
}

// RevisionsFrom yields the revisions from a number on, in order of oid and tid.
func (r *Reader) RevisionsFrom(number int64) iter.Seq2[Revision, error] {
	return entries(r, sectionRevisions, number, func(b []byte) (Revision, key, error) {
		e := parseRevision(b)
		return e, key{uint64(e.OID), uint64(e.TID)}, r.checkPlace(e.Place, e.Name())
	})
}

// TransactionsFrom yields the transactions from a number on, in order of tid.
func (r *Reader) TransactionsFrom(number int64) iter.Seq2[Transaction, error] {
	return entries(r, sectionTransactions, number, func(b []byte) (Transaction, key, error) {
		e := parseTransaction(b)
		err := r.checkPlace(e.Place, e.Name())
		if err == nil && int64(e.FirstFrame) > int64(e.Frame) {
			err = r.corrupt(r.sections[sectionTransactions], nil, "the index has an impossible place for %s: %+v", e.Name(), e)
		}
		return e, key{first: uint64(e.TID)}, err
	})
}

// FramesFrom yields the frames from a number on.
func (r *Reader) FramesFrom(number int64) iter.Seq2[Frame, error] {
	return entries(r, sectionFrames, number, func(b []byte) (Frame, key, error) {
		f := parseFrame(b)
		return f, key{first: uint64(f.Offset)}, r.checkFrame(f)
	})
}

func entries[E any](r *Reader, section int, number int64, parse func(b []byte) (E, key, error)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var none E
		var buf []byte
		var before key
		size := int(entrySize(section))
		for k := number / inBlock(section); k < int64(len(r.fences[section])); k++ {
			b, err := r.block(section, k, buf)
			if err != nil {
				yield(none, err)
				return
			}
			buf = b
			skip := max(0, number-k*inBlock(section))
			for b = b[min(len(b), int(skip)*size):]; len(b) > 0; b = b[size:] {
				e, at, err := parse(b)
				if err == nil && before != (key{}) && !before.less(at) {
					err = r.corrupt(r.sections[section], nil, "block %d of section %d of the index is out of order", k, section)
				}
				if err != nil {
					yield(none, err)
					return
				}
				if before = at; !yield(e, nil) {
					return
				}
			}
		}
	}
}

// Frame returns where a frame is.
func (r *Reader) Frame(number uint32) (Frame, error) {
	if int64(number) >= r.Frames {
		return Frame{}, r.corrupt(r.sections[sectionFrames], nil, "the index names frame %d, and the bundle has %d", number, r.Frames)
	}
	buf := blocks.Get().(*[placesInBlock * placeSize]byte)
	defer blocks.Put(buf)
	b, err := r.block(sectionFrames, int64(number)/framesInBlock, buf[:])
	if err != nil {
		return Frame{}, err
	}
	f := parseFrame(b[int64(number)%framesInBlock*frameSize:])
	return f, r.checkFrame(f)
}

func (r *Reader) checkFrame(f Frame) error {
	if f.Size <= 0 || f.Offset+f.Size > r.dataEnd || f.Blocks == 0 || int64(f.Blocks)*tarBlock > min(maxContent+2*tarBlock, mostDecoded(f.Size)) {
		return r.corrupt(r.sections[sectionFrames], nil, "the index has an impossible frame: %+v", f)
	}
	return nil
}

// ReadPacked reads a frame as it is in the file, and checks its sum.
func (r *Reader) ReadPacked(f Frame, dst []byte) ([]byte, error) {
	dst, err := r.ReadRun(f.Offset, f.Size, dst)
	if err == nil {
		err = r.CheckPacked(f, dst)
	}
	if err != nil {
		return nil, err
	}
	return dst, nil
}

// decoder decodes frames; its DecodeAll may be called concurrently.
var decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxContent+2*tarBlock))
})

// decodeRoom is how much longer than its content a buffer has to be for the decoder to write beyond
// the end of what it copies, which is quicker.
const decodeRoom = 64

// Decode returns the members of a frame. The result may be read until dst is used again.
func (r *Reader) Decode(f Frame, packed, dst []byte) ([]byte, error) {
	d, err := decoder()
	if err != nil {
		return nil, err
	}
	var h zstd.Header
	want := int64(f.Blocks) * tarBlock
	if err := h.Decode(packed); err != nil || !h.HasFCS || h.FrameContentSize != uint64(want) {
		return nil, r.corrupt(f.Offset, err, "a frame does not decode to %d bytes", want)
	}
	if int64(cap(dst)) < want {
		dst = make([]byte, 0, want+decodeRoom)
	}
	b, err := d.DecodeAll(packed, dst[:0])
	if err != nil || int64(len(b)) != want {
		return nil, r.corrupt(f.Offset, err, "a frame does not decode to %d bytes", want)
	}
	return b, nil
}

// Member returns the content of a member of a decoded frame, and makes sure that it is the one
// that an entry promises.
func (r *Reader) Member(frame []byte, p Place, want layout.Name) ([]byte, error) {
	at := (int(p.Block) - 1) * tarBlock
	if at > len(frame) {
		return nil, r.wrong(want, fmt.Errorf("frame %d has %d bytes, and the index says that it begins at %d", p.Frame, len(frame), at))
	}
	n, content, _, err := parseMember(frame[at:])
	if err == nil && n != want {
		err = fmt.Errorf("%s is in its place", n)
	}
	if err == nil && int64(len(content)) != int64(p.Length) {
		err = fmt.Errorf("it has %d bytes, and the index says %d", len(content), p.Length)
	}
	if err != nil {
		return nil, r.wrong(want, err)
	}
	return content, nil
}

func (r *Reader) wrong(n layout.Name, err error) error {
	return &zodb.CorruptError{Path: r.path, OID: n.OID, TID: n.TID, Reason: fmt.Sprintf("%s cannot be read", n), Err: err}
}

// Read returns the content of a member. It is a part of a buffer that nobody else uses.
func (r *Reader) Read(p Place, n layout.Name) ([]byte, error) {
	f, err := r.Frame(p.Frame)
	if err != nil {
		return nil, err
	}
	packed, err := r.ReadPacked(f, nil)
	if err != nil {
		return nil, err
	}
	b, err := r.Decode(f, packed, nil)
	if err != nil {
		return nil, err
	}
	return r.Member(b, p, n)
}

// From returns the number of the first revision of an object or of those behind it.
func (r *Reader) From(oid zodb.OID) (int64, error) {
	exact := false
	number, err := r.last(sectionRevisions, key{first: uint64(oid)}, func(b []byte) {
		exact = keyOf(sectionRevisions, b) == key{first: uint64(oid)}
	})
	if err == nil && !exact {
		number++
	}
	return number, err
}

// ReadFrame reads and decodes a frame of which the place alone is known, into buffers that it
// returns, larger ones perhaps. The checksum of zstd is compared; bytes that are not a frame are an
// error.
func (r *Reader) ReadFrame(offset, size int64, packed, plain []byte) (p, b []byte, err error) {
	f := Frame{Offset: offset, Size: size}
	if size <= 0 || offset < 0 || offset+size > r.dataEnd {
		return packed, plain, r.corrupt(offset, nil, "a frame of %d bytes does not fit there", size)
	}
	if int64(cap(packed)) < size {
		packed = make([]byte, size)
	}
	packed = packed[:size]
	if err := r.readAt(packed, offset); err != nil {
		return packed, plain, err
	}
	var h zstd.Header
	if err := h.Decode(packed); err != nil || !h.HasFCS || h.FrameContentSize > uint64(mostDecoded(size)) || h.FrameContentSize%tarBlock != 0 || !h.HasCheckSum {
		return packed, plain, r.corrupt(offset, err, "the bytes there are not a frame of members")
	}
	f.Blocks = uint32(h.FrameContentSize / tarBlock)
	b, err = r.Decode(f, packed, plain)
	if err != nil {
		return packed, plain, err
	}
	return packed, b, nil
}

// MemberAt returns the content of a member of a decoded frame, by where it begins.
func (r *Reader) MemberAt(frame []byte, block uint16, want layout.Name) ([]byte, error) {
	at := (int(block) - 1) * tarBlock
	if at < 0 || at > len(frame) {
		return nil, r.wrong(want, fmt.Errorf("its frame has %d bytes, and it ought to begin at %d", len(frame), at))
	}
	n, content, _, err := parseMember(frame[at:])
	if err == nil && n != want {
		err = fmt.Errorf("%s is in its place", n)
	}
	if err != nil {
		return nil, r.wrong(want, err)
	}
	return content, nil
}

package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"io"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// RebuildOptions of [Rebuild]. Flags is mandatory.
type RebuildOptions struct {
	// Name gives the range and the generation where the footer cannot be read. If it is zero, too,
	// the range is that of the members.
	Name Name
	// Flags returns the flags that the index has for a member of that content.
	Flags func(n layout.Name, content []byte) uint16
	// Previous returns which transaction the file of one says that it follows. The footer may be lost,
	// which says it for the first one. nil: nobody asks.
	Previous func(content []byte) zodb.TID
	// Damaged is told each piece of the file that cannot be read; nil: nobody is.
	Damaged func(error)
}

// Rebuild returns a Reader of a bundle whose index or footer is damaged or missing: it decodes the
// whole file, and makes an index of the members that it finds, in memory, of 28 bytes for each. Of
// members with the same name the first counts. If the footer is whole, Info is as it says,
// except for the numbers of members; footer reports that. If only the index was lost, the new one
// equals it, byte for byte. The list that the bundle carries, if any, is taken over where it is whole, and all
// members are there; see [Reader.ListLost] and [Reader.ListNewer]. An error is that of reading the file.
func Rebuild(r io.ReaderAt, size int64, path string, o RebuildOptions) (b *Reader, footer bool, err error) {
	i := Info{Min: o.Name.Min, Max: o.Name.Max, Generation: o.Name.Generation}
	end := size
	said, err := readFooter(r, size)
	if vfs.Passes(err) {
		return nil, false, err
	}
	if err == nil {
		i, footer = said, true
		end = said.dataEnd
	}
	var revisions []Revision
	var transactions []Transaction
	var frames []Frame
	seen := make(map[layout.Name]bool)
	firsts := make(map[zodb.TID]Place)
	i.Blobs, i.fences = 0, 0
	damaged := size // the first offset of damage
	for m, err := range Scan(r, end, path) {
		if err != nil {
			bad, ok := errors.AsType[*zodb.CorruptError](err)
			if !ok {
				return nil, footer, err
			}
			damaged = min(damaged, bad.Offset)
			if o.Damaged != nil {
				o.Damaged(err)
			}
			continue
		}
		if seen[m.Name] || i.Min != 0 && !i.contains(m.Name.TID) {
			continue
		}
		seen[m.Name] = true
		if len(frames) == 0 || frames[len(frames)-1].Offset != m.Frame.Offset {
			frames = append(frames, m.Frame)
		}
		p := Place{Frame: uint32(len(frames) - 1), Block: m.Block, Flags: o.Flags(m.Name, m.Content), Length: uint32(len(m.Content))}
		if _, ok := firsts[m.Name.TID]; !ok {
			firsts[m.Name.TID] = p
		}
		if m.Name.Kind == layout.KindTransaction {
			if !footer && len(transactions) == 0 && o.Previous != nil {
				i.Previous = o.Previous(m.Content)
			}
			first := firsts[m.Name.TID]
			transactions = append(transactions, Transaction{TID: m.Name.TID, Place: p, FirstFrame: first.Frame, FirstBlock: first.Block - 1})
			continue
		}
		if p.Flags&FlagBlob != 0 {
			i.Blobs++
		}
		revisions = append(revisions, Revision{OID: m.Name.OID, TID: m.Name.TID, Place: p})
	}
	slices.SortFunc(revisions, func(a, b Revision) int { return cmp.Or(cmp.Compare(a.OID, b.OID), cmp.Compare(a.TID, b.TID)) })
	slices.SortFunc(transactions, func(a, b Transaction) int { return cmp.Compare(a.TID, b.TID) })
	if !footer {
		for _, e := range revisions {
			i.HighestOID = max(i.HighestOID, e.OID)
		}
	}
	if i.Min == 0 {
		for tid := range firsts {
			if i.Min == 0 || tid < i.Min {
				i.Min = tid
			}
			i.Max = max(i.Max, tid)
		}
	}
	if i.Previous >= i.Min {
		i.Previous = 0
	}
	i.Revisions, i.Transactions, i.Frames, i.dataEnd = int64(len(revisions)), int64(len(transactions)), int64(len(frames)), end
	whole := &Reader{Info: i, r: r, size: size, path: path}
	tarEnd, err := whole.findEnd(frames, damaged)
	if vfs.Passes(err) {
		return nil, footer, err
	}
	list, lost, err := []byte(nil), i.listSize > 0, error(nil)
	whole.unknown = !footer
	if tarEnd != 0 && (!footer || i.Revisions == said.Revisions && i.Transactions == said.Transactions) {
		if list, lost, err = whole.findList(tarEnd, footer); vfs.Passes(err) {
			return nil, footer, err
		}
	} else if err := whole.findNewer(behind(frames), footer); vfs.Passes(err) {
		return nil, footer, err
	}
	var index bytes.Buffer
	x := &indexWriter{w: &index, sum: sha256.New(), at: end, info: &i}
	x.sections(revisions, transactions, frames, list)
	if x.err != nil {
		return nil, footer, x.err
	}
	b = &Reader{Info: i, r: &indexBehind{r, index.Bytes(), end}, size: end + int64(index.Len()) + FooterSize, path: path, rebuilt: true,
		tarEnd: tarEnd, lost: lost, unknown: whole.unknown, newer: whole.newer}
	if err := cmp.Or(b.readFences(), b.readList()); err != nil {
		return nil, footer, err
	}
	return b, footer, nil
}

// behind returns the end of the last frame.
func behind(frames []Frame) int64 {
	if len(frames) == 0 {
		return 0
	}
	last := frames[len(frames)-1]
	return last.Offset + last.Size
}

// findEnd returns where the tar ends, if its frames lie one behind the other, undamaged; else 0.
func (r *Reader) findEnd(frames []Frame, damaged int64) (int64, error) {
	end := int64(0)
	for _, f := range frames {
		if f.Offset != end {
			return 0, nil
		}
		end += f.Size
	}
	if damaged <= end {
		return 0, nil
	}
	length, blocks, err := r.frameAt(end)
	if err != nil || int(blocks) != len(tarEnd)/tarBlock {
		return 0, err
	}
	packed := make([]byte, length)
	if err := r.readAt(packed, end); err != nil {
		return 0, err
	}
	b, err := r.Decode(Frame{Offset: end, Size: length, Blocks: blocks}, packed, nil)
	if err != nil || !isZero(b) {
		return 0, err
	}
	return end + length, nil
}

// Complete reports of a Reader that was rebuilt whether it has all members: the frames are whole
// up to the end of the tar.
func (r *Reader) Complete() bool { return r.tarEnd != 0 }

// Restore writes the bundle of a Reader that was rebuilt and is complete, with its frames as they
// are and a whole index. Of the Options range, generation, identity, the transaction before and
// the highest oid count.
func (r *Reader) Restore(w io.Writer, o Options) (Info, error) {
	if !r.Complete() {
		return Info{}, errors.New("the bundle is not complete")
	}
	var revisions []Revision
	var transactions []Transaction
	var frames []Frame
	for e, err := range r.RevisionsFrom(0) {
		if err != nil {
			return Info{}, err
		}
		revisions = append(revisions, e)
	}
	for e, err := range r.TransactionsFrom(0) {
		if err != nil {
			return Info{}, err
		}
		transactions = append(transactions, e)
	}
	for f, err := range r.FramesFrom(0) {
		if err != nil {
			return Info{}, err
		}
		frames = append(frames, f)
	}
	if _, err := io.Copy(w, io.NewSectionReader(r.r, 0, r.tarEnd)); err != nil {
		return Info{}, err
	}
	list, err := r.carried.appendCarried()
	if err != nil {
		return Info{}, err
	}
	i := r.Info
	i.Identity, i.Min, i.Max, i.Generation, i.Previous, i.HighestOID = o.Identity, o.Min, o.Max, o.Generation, o.Previous, o.HighestOID
	i.dataEnd, i.fences = r.tarEnd, 0
	x := &indexWriter{w: w, sum: sha256.New(), at: r.tarEnd, info: &i}
	x.sections(revisions, transactions, frames, list)
	x.write(i.append(nil))
	return i, x.err
}

// Rebuilt reports whether the index is not that of the file.
func (r *Reader) Rebuilt() bool { return r.rebuilt }

// readFooter reads the footer alone.
func readFooter(r io.ReaderAt, size int64) (Info, error) {
	if size < FooterSize {
		return Info{}, io.ErrUnexpectedEOF
	}
	b := make([]byte, FooterSize)
	if _, err := r.ReadAt(b, size-FooterSize); err != nil {
		return Info{}, err
	}
	return parseFooter(b, size)
}

// indexBehind reads a file up to an offset, and an index from there on.
type indexBehind struct {
	r     io.ReaderAt
	index []byte
	at    int64
}

// ReadAt implements [io.ReaderAt].
func (x *indexBehind) ReadAt(b []byte, at int64) (n int, err error) {
	if at < x.at {
		part := b[:min(int64(len(b)), x.at-at)]
		if n, err = x.r.ReadAt(part, at); n < len(part) || n == len(b) {
			return n, err
		}
	}
	m, err := bytes.NewReader(x.index).ReadAt(b[n:], at+int64(n)-x.at)
	return n + m, err
}

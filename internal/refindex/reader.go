package refindex

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Reader reads an index. It keeps 16 bytes for each 16 kB of it in memory. Its
// methods may be called concurrently, Close excepted. An index that is
// written meanwhile does not disturb it.
type Reader struct {
	name   string
	file   vfs.File
	h      header
	firsts []first
}

// first holds the facts that are known of a block without reading it.
type first struct {
	to     zodb.OID // the first target
	offset int64
}

// Open opens an index. The error matches fs.ErrNotExist if there is none, and is a
// *zodb.CorruptError, which says that it has to be written again, if it is damaged.
func Open(fsys vfs.FS, name string) (*Reader, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	r := &Reader{name: name, file: file}
	if err := r.readEnds(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return r, nil
}

// readEnds reads the header and the first ones.
func (r *Reader) readEnds() error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, min(headerSize, info.Size))
	if err := r.readAt(b, 0); err != nil {
		return err
	}
	if wrong := r.h.parse(b, info.Size); wrong != "" {
		return damage(r.name, 0, wrong, nil)
	}
	b = make([]byte, info.Size-r.h.firsts)
	if err := r.readAt(b, r.h.firsts); err != nil {
		return err
	}
	b, sum := b[:len(b)-tailSize], b[len(b)-tailSize:]
	if crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(sum) {
		return damage(r.name, r.h.firsts, "the checksum of the list of blocks is wrong", nil)
	}
	r.firsts = make([]first, 0, r.h.blocks)
	end := int64(headerSize)
	for ; len(b) > 0; b = b[firstSize:] {
		f := first{zodb.OIDFromBytes(b), int64(binary.BigEndian.Uint64(b[8:]))}
		n := len(r.firsts)
		// Each block begins where the one before, of which nothing is known yet, ends.
		if n == 0 && f.offset != end || n > 0 && (f.offset < end+blockHead || f.to < r.firsts[n-1].to) || f.offset > r.h.firsts-blockHead {
			return damage(r.name, r.h.firsts, "the list of blocks does not ascend", nil)
		}
		end = f.offset
		r.firsts = append(r.firsts, f)
	}
	return nil
}

func (r *Reader) readAt(b []byte, offset int64) error {
	_, err := io.ReadFull(io.NewSectionReader(r.file, offset, int64(len(b))), b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damage(r.name, offset, "it became shorter while it was read", nil)
	}
	if err != nil {
		return fmt.Errorf("read an index of references: %w", err)
	}
	return nil
}

// Close closes the file.
func (r *Reader) Close() error { return r.file.Close() }

// TID returns the transaction up to which the index holds.
func (r *Reader) TID() zodb.TID { return r.h.tid }

// Stats returns the numbers of the index.
func (r *Reader) Stats() Stats { return r.h.stats }

// Referrers yields, in ascending order, the objects that refer to an object. It
// reads the blocks that hold them, 16 kB at a time. It stops after the first
// error, a *zodb.CorruptError or one of reading.
func (r *Reader) Referrers(oid zodb.OID) iter.Seq2[zodb.OID, error] {
	return func(yield func(zodb.OID, error) bool) {
		i, _ := slices.BinarySearchFunc(r.firsts, oid, func(f first, oid zodb.OID) int {
			if f.to < oid {
				return -1
			}
			return 1 // the first of those that begin with it
		})
		// It may begin within the block before.
		for i = max(0, i-1); i < len(r.firsts) && r.firsts[i].to <= oid; i++ {
			for p, err := range r.pairs(i) {
				if err != nil {
					yield(0, err)
					return
				}
				if p.to > oid {
					return
				}
				if p.to == oid && !yield(p.from, nil) {
					return
				}
			}
		}
	}
}

// pairs yields the pairs in a block.
func (r *Reader) pairs(i int) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		offset, end := r.firsts[i].offset, r.h.firsts
		if i+1 < len(r.firsts) {
			end = r.firsts[i+1].offset
		}
		if end-offset > blockSize+maxPair {
			yield(pair{}, damage(r.name, offset, "a block is too long", nil))
			return
		}
		b := make([]byte, end-offset)
		if err := r.readAt(b, offset); err != nil {
			yield(pair{}, err)
			return
		}
		if binary.BigEndian.Uint32(b) != blockSum(b, offset) {
			yield(pair{}, damage(r.name, offset, "the checksum of a block is wrong", nil))
			return
		}
		var c coder
		rest := bytes.NewReader(b[blockHead:])
		for range binary.BigEndian.Uint32(b[4:]) {
			p, err := c.next(rest)
			if err != nil {
				yield(pair{}, damage(r.name, offset, "a block cannot be read", err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
		if rest.Len() > 0 {
			yield(pair{}, damage(r.name, offset, "something follows the pairs of a block", nil))
		}
	}
}

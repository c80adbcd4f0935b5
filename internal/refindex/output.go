package refindex

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// output writes the file from ascending pairs.
type output struct {
	file   vfs.File
	w      *bufio.Writer
	offset int64 // of the block
	block  []byte
	pairs  uint32 // in the block
	c      coder  // of the block
	last   pair
	firsts []byte
	h      header
}

func newOutput(f vfs.File) *output {
	// The header comes last, when the numbers are known.
	return &output{file: f, w: bufio.NewWriterSize(io.NewOffsetWriter(f, headerSize), buffered), offset: headerSize, block: make([]byte, blockHead, blockSize+maxPair)}
}

func (o *output) add(p pair) error {
	if len(o.block) >= blockSize {
		if err := o.flush(); err != nil {
			return err
		}
	}
	if o.pairs == 0 {
		o.firsts = binary.BigEndian.AppendUint64(p.to.Append(o.firsts), uint64(o.offset))
		o.h.blocks++
	}
	if o.h.stats.References == 0 || p.to != o.last.to {
		o.h.stats.Targets++
	}
	o.block = o.c.append(o.block, p)
	o.last = p
	o.pairs++
	o.h.stats.References++
	return nil
}

// flush writes the block and begins another one.
func (o *output) flush() error {
	if o.pairs == 0 {
		return nil
	}
	if o.h.blocks == math.MaxUint32 {
		panic("refindex: more than 64 TiB of references")
	}
	sealBlock(o.block, o.offset, o.pairs)
	n, err := o.w.Write(o.block)
	o.offset += int64(n)
	o.block, o.pairs, o.c = o.block[:blockHead], 0, coder{}
	return err
}

// close writes the rest, and the header. The file is the caller's to sync and close.
func (o *output) close(tid zodb.TID, skipped, damaged int64) (Stats, error) {
	if err := o.flush(); err != nil {
		return Stats{}, err
	}
	o.h.tid, o.h.stats.Skipped, o.h.stats.Damaged, o.h.firsts = tid, skipped, damaged, o.offset
	o.firsts = binary.BigEndian.AppendUint32(o.firsts, crc32.Checksum(o.firsts, castagnoli))
	if _, err := o.w.Write(o.firsts); err != nil {
		return Stats{}, err
	}
	if err := o.w.Flush(); err != nil {
		return Stats{}, err
	}
	o.h.stats.Bytes = o.offset + int64(len(o.firsts))
	_, err := o.file.WriteAt(o.h.append(nil), 0)
	return o.h.stats, err
}

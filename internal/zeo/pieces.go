package zeo

import (
	"errors"
	"io"
	"iter"
)

// blobPiece is the size of the pieces in which a blob is sent, as the reference has it.
const blobPiece = 59000

// partPieces is how many pieces are read and compared with the checksum while the ones before them
// are sent. They fit into one write, and into the processor's cache.
const partPieces = 4

// pieces are the frames in which the content of a blob is sent. The content is read into its place
// between the heads and tails of the frames, and never copied.
type pieces struct {
	r      io.Reader
	size   int64 // bytes in it, as far as is known
	around func(n int) (head, tail []byte, err error)

	piece      int // bytes in each but the last one
	head, tail []byte
}

// fill appends the frames of a part of the content, for which there is room. ended: there is no more.
func (p *pieces) fill(b []byte) (frames []byte, ended bool, err error) {
	for range partPieces {
		at := len(b) + len(p.head)
		if at+p.piece+len(p.tail) > cap(b) {
			return b, false, nil
		}
		n, err := io.ReadFull(p.r, b[at:at+p.piece])
		ended = err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return nil, false, err
		}
		head, tail := p.head, p.tail
		if 0 < n && n < p.piece {
			if head, tail, err = p.around(n); err != nil {
				return nil, false, err
			}
		}
		if n > 0 {
			content := b[at : at+n]
			b = append(b, head...)
			b = append(b, content...) // where it is already, unless the head is another one
			b = append(b, tail...)
		}
		if ended {
			return b, true, nil
		}
	}
	return b, false, nil
}

// readAhead yields the frames in parts, each good until the next one; an error, which is never
// io.EOF, is the last. While one is worked with another one is read.
func (p *pieces) readAhead() iter.Seq2[[]byte, error] {
	type part struct {
		frames []byte
		err    error
	}
	return func(yield func([]byte, error) bool) {
		// One byte more than there are, to see the end.
		p.piece = int(min(p.size+1, blobPiece))
		var err error
		if p.head, p.tail, err = p.around(p.piece); err != nil {
			yield(nil, err)
			return
		}
		room := int(min(p.size/blobPiece+1, partPieces)) * (len(p.head) + p.piece + len(p.tail))
		free, full := make(chan []byte, 2), make(chan part, 2)
		free <- nil
		free <- nil
		go func() {
			defer close(full)
			for b := range free {
				if b == nil {
					b = make([]byte, 0, room)
				}
				frames, ended, err := p.fill(b[:0])
				if err != nil || len(frames) > 0 {
					full <- part{frames, err}
				}
				if ended || err != nil {
					return
				}
			}
		}()
		more := true
		for p := range full {
			if !more {
				continue // the reader has to end before its file is closed
			}
			if more = yield(p.frames, p.err); more {
				free <- p.frames
			} else {
				close(free)
			}
		}
	}
}

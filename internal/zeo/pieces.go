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

// filePieces is the same where the kernel sends the content.
const filePieces = 8

// partsAhead is how many parts may wait, or be read, while one is sent.
const partsAhead = 2

// filePartsAhead is the same where the kernel sends the content: nothing is held but their places, and the
// longer one of the two can work the less often it has to wait for the other.
const filePartsAhead = 16

// pieces are the frames in which the content of a blob is sent. Either the content is read into its
// place between the heads and tails of the frames, and never copied, or the kernel sends it from the
// file.
type pieces struct {
	r      io.Reader
	size   int64     // bytes in it, as far as is known
	file   *blobFile // r as the kernel knows it; nil: it does not
	around func(n int) (head, tail []byte, err error)

	piece      int // bytes in each but the last one
	head, tail []byte
}

// part is some frames: in memory, or in a file.
type part struct {
	frames []byte
	file   *filePart
}

// fill appends the frames of a part of the content, for which there is room. ended: there is no more.
func (p *pieces) fill(b []byte) (_ part, ended bool, err error) {
	for range partPieces {
		at := len(b) + len(p.head)
		if at+p.piece+len(p.tail) > cap(b) {
			break
		}
		content, ended, err := p.read(b[at : at+p.piece])
		if err != nil {
			return part{}, false, err
		}
		head, tail, err := p.aroundPiece(len(content))
		if err != nil {
			return part{}, false, err
		}
		if len(content) > 0 {
			b = append(b, head...)
			b = append(b, content...) // where it is already, unless the head is another one
			b = append(b, tail...)
		}
		if ended {
			return part{frames: b}, true, nil
		}
	}
	return part{frames: b}, false, nil
}

// read reads a piece, or the end.
func (p *pieces) read(b []byte) (content []byte, ended bool, err error) {
	n, err := io.ReadFull(p.r, b)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return b[:n], true, nil
	}
	return b[:n], false, err
}

// aroundPiece returns what is around a piece of n bytes.
func (p *pieces) aroundPiece(n int) (head, tail []byte, err error) {
	if 0 < n && n < p.piece {
		return p.around(n)
	}
	return p.head, p.tail, nil
}

// look reads a part of the content for its checksum alone; the kernel will send it. b has room for a
// piece.
func (p *pieces) look(b []byte, at int64) (_ part, ended bool, err error) {
	f := &filePart{from: p.file, at: at}
	for !ended && len(f.sections) < filePieces {
		var content []byte
		if content, ended, err = p.read(b[:p.piece]); err != nil {
			return part{}, false, err
		}
		head, tail, err := p.aroundPiece(len(content))
		if err != nil {
			return part{}, false, err
		}
		if len(content) > 0 {
			f.sections = append(f.sections, section{head, tail, len(content)})
		}
	}
	return part{file: f}, ended, nil
}

// readAhead yields the frames in parts, each good until the next one; an error, which is never
// io.EOF, is the last. While one is worked with another one is read.
func (p *pieces) readAhead() iter.Seq2[part, error] {
	type result struct {
		part
		err error
	}
	return func(yield func(part, error) bool) {
		// One byte more than there are, to see the end.
		p.piece = int(min(p.size+1, blobPiece))
		var err error
		if p.head, p.tail, err = p.around(p.piece); err != nil {
			yield(part{}, err)
			return
		}
		ahead := partsAhead
		if p.file != nil {
			ahead = filePartsAhead
		}
		free, full := make(chan []byte, ahead), make(chan result, ahead)
		for range ahead {
			free <- nil
		}
		go func() {
			defer close(full)
			next := p.parts()
			for b := range free {
				part, ended, err := next(b)
				if err != nil || part.size() > 0 {
					full <- result{part, err}
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
			if more = yield(p.part, p.err); more {
				free <- p.frames
			} else {
				close(free)
			}
		}
	}
}

// parts returns the function that makes the next part, in a buffer that is used again if there is one.
func (p *pieces) parts() func(b []byte) (_ part, ended bool, err error) {
	if p.file != nil {
		at, b := int64(0), make([]byte, p.piece)
		return func([]byte) (part, bool, error) {
			part, ended, err := p.look(b, at)
			if err == nil {
				at += part.file.content()
			}
			return part, ended, err
		}
	}
	room := int(min(p.size/blobPiece+1, partPieces)) * (len(p.head) + p.piece + len(p.tail))
	return func(b []byte) (part, bool, error) {
		if b == nil {
			b = make([]byte, 0, room)
		}
		return p.fill(b[:0])
	}
}

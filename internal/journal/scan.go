package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/dirstorage/dirstorage/zodb"
)

// windowSize is how much of a segment is read at a time. It is more than maxHead.
const windowSize = 1 << 20

// window reads a file in large pieces.
type window struct {
	f     io.ReaderAt
	limit int64 // nothing behind it is read
	start int64 // offset of buf in the file
	buf   []byte
	mem   []byte
}

// at returns n bytes at an offset, fewer at the end; n is at most windowSize.
// The bytes are good until the next call.
func (w *window) at(offset int64, n int) ([]byte, error) {
	end := min(offset+int64(n), w.limit)
	if offset >= end {
		return nil, nil
	}
	if offset < w.start || end > w.start+int64(len(w.buf)) {
		if w.mem == nil {
			w.mem = make([]byte, min(windowSize, w.limit))
		}
		want := w.mem[:min(int64(len(w.mem)), w.limit-offset)]
		got, err := w.f.ReadAt(want, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			w.buf = nil
			return nil, err
		}
		w.start, w.buf = offset, want[:got]
	}
	have := w.buf[offset-w.start:]
	return have[:min(len(have), int(end-offset))], nil
}

// frame is a valid frame.
type frame struct {
	head
	offset int64
	end    int64  // where the next one starts
	start  []byte // of the payload, at most maxHead bytes; good until the next call
}

// frameReader reads the frames of one segment.
type frameReader struct {
	w    window
	seal seal
}

// frame returns the frame at an offset; false if there is no valid one. The
// error is that of reading.
func (r *frameReader) frame(offset int64) (frame, bool, error) {
	b, err := r.w.at(offset, frameHead)
	if err != nil || len(b) < frameHead {
		return frame{}, false, err
	}
	h, ok := r.seal.parseHead(b, offset)
	if !ok {
		return frame{}, false, nil
	}
	fr := frame{head: h, offset: offset, end: offset + frameSize(int64(h.length))}
	if fr.end > r.w.limit || h.t != frameData && h.length > maxHead {
		return frame{}, false, nil
	}
	var sum uint32
	const piece = windowSize / 2
	payload := offset + frameHead
	for left := int64(h.length); left > 0; {
		n := min(left, piece)
		if b, err = r.w.at(payload+int64(h.length)-left, int(n)); err != nil || len(b) < int(n) {
			return frame{}, false, err
		}
		sum = crc32.Update(sum, castagnoli, b)
		left -= n
	}
	if sum != h.sum {
		return frame{}, false, nil
	}
	fr.start, err = r.w.at(payload, min(int(h.length), maxHead))
	return fr, true, err
}

// vote is a transaction with all its data frames and its meta frame.
type vote struct {
	meta    zodb.TxnMeta
	packed  bool
	handle  uint64
	pos     Position // of the meta frame
	records []Entry
}

// item is a vote or a commit of a segment, for recovery.
type item struct {
	offset int64
	vote   *vote
	commit *commit
}

// scanned is the contents of a segment.
type scanned struct {
	seq     uint64
	items   []item // in the order of the file
	end     int64  // behind the last frame that is good
	why     string // why it ends there; empty: it ends where it should
	oldest  uint64 // largest mark
	durable int64  // all before this offset is proven to have been durable
	valid   int    // valid frames, also behind end
	behind  int    // valid commit frames behind end
}

// scanner collects the frames of one segment.
type scanner struct {
	frameReader
	scanned
	run []Entry // data frames that wait for their meta frame
}

// scan reads a segment up to limit, where it has to end exactly if bounded;
// else it ends with the last good frame, and the bytes behind it are searched for frames that prove
// that more should be good. The error is that of reading.
func scan(f io.ReaderAt, identity [16]byte, seq uint64, limit int64, bounded bool) (*scanned, error) {
	s := &scanner{frameReader: frameReader{w: window{f: f, limit: limit}, seal: newSeal(identity, seq)}}
	s.seq, s.end = seq, headerSize
	for s.end < limit {
		fr, ok, err := s.frame(s.end)
		if err != nil {
			return nil, err
		}
		if !ok {
			s.why = "there is no valid frame"
			break
		}
		if err := s.take(fr); err != nil {
			s.why = err.Error()
			break
		}
		s.end = fr.end
		s.valid++
	}
	if bounded {
		return &s.scanned, nil
	}
	return &s.scanned, s.searchBehind()
}

// take adds one frame.
func (s *scanner) take(fr frame) error {
	if fr.t != frameData && fr.t != frameMeta && s.run != nil {
		return fmt.Errorf("a frame of type %d is among those of a transaction", fr.t)
	}
	switch fr.t {
	case frameData:
		return s.takeData(fr)
	case frameMeta:
		return s.takeMeta(fr)
	case frameCommit:
		c, err := parseCommit(fr.start)
		if err != nil {
			return err
		}
		s.items = append(s.items, item{offset: fr.offset, commit: c})
		s.proven(c.durable)
	case frameMark:
		m, err := parseMark(fr.start)
		if err != nil {
			return err
		}
		if m.oldest > s.seq {
			return errors.New("a mark gives up segments that are not written yet")
		}
		s.oldest = max(s.oldest, m.oldest)
		s.proven(m.durable)
	}
	return nil
}

func (s *scanner) takeData(fr frame) error {
	e, err := parseEntry(fr.start, int64(fr.length))
	if err != nil {
		return err
	}
	if len(s.run) > 0 && s.run[0].handle != e.handle {
		return errors.New("frames of two transactions are interleaved")
	}
	e.Pos = Position{s.seq, fr.offset}
	s.run = append(s.run, e)
	return nil
}

func (s *scanner) takeMeta(fr frame) error {
	m, err := parseMeta(fr.start)
	if err != nil {
		return err
	}
	first := fr.offset
	if len(s.run) > 0 {
		first = s.run[0].Pos.Offset
	}
	if m.records != uint64(len(s.run)) || m.first != first || len(s.run) > 0 && s.run[0].handle != m.handle {
		return fmt.Errorf("the transaction does not have the %d data frames that it should", m.records)
	}
	s.items = append(s.items, item{offset: fr.offset,
		vote: &vote{meta: m.TxnMeta, packed: m.packed, handle: m.handle, pos: Position{s.seq, fr.offset}, records: s.run}})
	s.run = nil
	s.proven(m.durable)
	return nil
}

// proven notes a durable position that a valid frame gives.
func (s *scanner) proven(p Position) {
	if p.Segment == s.seq {
		s.durable = max(s.durable, p.Offset)
	}
}

// zeroPiece is how much of a segment is passed over at once where it has nothing but zeros, as nearly
// all of a young one has.
const zeroPiece = 4096

var zeroText = strings.Repeat("\x00", zeroPiece)

// zerosAt reports whether there are zeros from an offset on, a piece of them.
func (s *scanner) zerosAt(offset int64) (bool, error) {
	b, err := s.w.at(offset, zeroPiece)
	if err != nil || len(b) < zeroPiece {
		return false, err
	}
	// Where the first bytes are others, the rest is not looked at.
	return binary.NativeEndian.Uint64(b) == 0 && binary.NativeEndian.Uint64(b[8:]) == 0 && string(b) == zeroText, nil
}

// searchBehind looks at every place behind the end for valid frames. Those of
// an earlier use of the file are none.
func (s *scanner) searchBehind() error {
	for offset := s.end + alignment; offset+frameHead <= s.w.limit; {
		zeros, err := s.zerosAt(offset)
		if err != nil {
			return err
		}
		if zeros {
			offset += zeroPiece - alignment // the type of a frame is never zero
			continue
		}
		fr, ok, err := s.frame(offset)
		if err != nil {
			return err
		}
		if !ok {
			offset += alignment
			continue
		}
		s.valid++
		switch fr.t {
		case frameMeta:
			if m, err := parseMeta(fr.start); err == nil {
				s.proven(m.durable)
			}
		case frameCommit:
			if c, err := parseCommit(fr.start); err == nil {
				s.behind++
				s.proven(c.durable)
			}
		case frameMark:
			if m, err := parseMark(fr.start); err == nil {
				s.proven(m.durable)
			}
		}
		offset = fr.end
	}
	return nil
}

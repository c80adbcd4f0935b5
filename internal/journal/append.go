package journal

import (
	"fmt"
	"hash/crc32"
	"io"

	"github.com/dirstorage/dirstorage/zodb"
)

// Pending is a transaction on its way into the log. It is made by the caller,
// and belongs to the log from Append until Commit or Abort.
type Pending struct {
	Meta zodb.TxnMeta
	// Packed: it is a copy of a transaction that was packed.
	Packed bool
	// Records are the revisions, each oid once. Append sets Pos.
	Records []Entry
	// Data returns the data of Records[i], of exactly Len bytes. It is called once
	// for each record with Len > 0, in order, and not kept, so the transaction
	// may be larger than memory. It must not call the log.
	Data func(i int) ([]byte, error)

	state   pendingState // guarded by mu of the log
	log     *Log
	handle  uint64
	meta    Position // of the meta frame
	segment *segment // that holds the data
}

type pendingState uint8

const (
	pendingNew pendingState = iota
	pendingOpen
	pendingEnded
)

// size returns the bytes of the data and meta frames, and refuses sizes that the format has no room
// for.
func (p *Pending) size() (int64, error) {
	for _, f := range [][]byte{p.Meta.User, p.Meta.Description, p.Meta.Extension} {
		if len(f) > zodb.MaxMetaLen {
			return 0, fmt.Errorf("metadata of %d bytes; the limit is %d", len(f), zodb.MaxMetaLen)
		}
	}
	size := frameSize(metaPayload(&p.Meta))
	for i := range p.Records {
		if err := p.Records[i].check(); err != nil {
			return 0, err
		}
		size += frameSize(p.Records[i].payload())
	}
	return size, nil
}

// Append writes the data of a transaction into the log and keeps room for its
// commit frame, so that Commit cannot run out of space. Nothing is durable yet.
// If it fails, the log is as it was: the caller may try again, as when the disk
// is full, or drop p. If the log is poisoned the error is the first cause of that.
func (l *Log) Append(p *Pending) error {
	size, err := p.size()
	if err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if p.state != pendingNew {
		return fmt.Errorf("append to the log: %w: it was appended before", zodb.ErrState)
	}
	if l.room(size) && !l.unnamed {
		return l.write(p, size)
	}
	// A new segment. The order of the locks wants syncMu first.
	l.mu.Unlock()
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	if err := l.usable(); err != nil {
		return err
	}
	if !l.room(size) {
		if err := l.roll(size); err != nil {
			return err
		}
	}
	if err := l.payName(); err != nil {
		return err
	}
	return l.write(p, size)
}

// write writes all data frames and the meta frame. mu must be held.
func (l *Log) write(p *Pending, size int64) error {
	s := l.current()
	l.handle++
	handle := l.handle
	w := &frameWriter{w: s.f, seal: s.seal, offset: s.end.Load(), buf: l.buf[:0]}
	defer func() { l.buf = w.buf[:0] }()
	err := l.writeAhead(s)
	if err == nil {
		err = p.writeData(w, s.seq, handle)
	}
	metaAt := w.offset
	if err == nil {
		m := meta{handle: handle, first: s.end.Load(), records: uint64(len(p.Records)), durable: l.durable, packed: p.Packed, TxnMeta: p.Meta}
		err = w.frame(frameMeta, m.append(nil), nil)
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil && w.offset != s.end.Load()+size {
		err = fmt.Errorf("%d bytes were written instead of %d", w.offset-s.end.Load(), size)
	}
	if err != nil {
		// The written frames have no commit frame, and the next Append overwrites them.
		return fmt.Errorf("append to the log: %w", err)
	}
	s.end.Store(w.offset)
	s.pins++
	l.open++
	p.state, p.log, p.handle, p.segment = pendingOpen, l, handle, s
	p.meta = Position{s.seq, metaAt}
	return nil
}

// writeData writes the data frames.
func (p *Pending) writeData(w *frameWriter, seq, handle uint64) error {
	var head []byte
	for i := range p.Records {
		e := &p.Records[i]
		var data []byte
		if e.Len > 0 {
			var err error
			if data, err = p.Data(i); err != nil {
				return fmt.Errorf("object %s: %w", e.OID, err)
			}
		}
		if int64(len(data)) != e.Len {
			return fmt.Errorf("object %s: %d bytes of data instead of %d", e.OID, len(data), e.Len)
		}
		e.handle, e.TID, e.Pos = handle, 0, Position{seq, w.offset}
		head = e.appendHead(head[:0])
		if err := w.frame(frameData, head, data); err != nil {
			return err
		}
	}
	return nil
}

// Abort gives up a transaction that was appended. Nothing is written. It does
// nothing if the transaction has ended.
func (l *Log) Abort(p *Pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.state != pendingOpen {
		return
	}
	p.state = pendingEnded
	p.segment.pins--
	l.open--
}

const (
	// flushAt is how much is collected before it is written.
	flushAt = 1 << 20
	// directAt is the length from which data are written without being copied.
	directAt = 256 << 10
)

// frameWriter writes frames one after the other, in large pieces.
type frameWriter struct {
	w      io.WriterAt
	seal   seal
	offset int64  // of the next frame
	buf    []byte // bytes before offset that are not written yet
}

// frame adds a frame whose payload is a followed by b.
func (w *frameWriter) frame(t frameType, a, b []byte) error {
	n := len(a) + len(b)
	sum := crc32.Update(crc32.Checksum(a, castagnoli), castagnoli, b)
	w.buf = w.seal.appendHead(w.buf, w.offset, t, uint32(n), sum)
	w.buf = append(w.buf, a...)
	w.offset += frameHead + int64(len(a))
	if len(b) < directAt {
		w.buf = append(w.buf, b...)
		w.offset += int64(len(b))
	} else {
		if err := w.flush(); err != nil {
			return err
		}
		if _, err := w.w.WriteAt(b, w.offset); err != nil {
			return err
		}
		w.offset += int64(len(b))
	}
	pad := -n & (alignment - 1)
	w.buf = appendPadding(w.buf, n)
	w.offset += int64(pad)
	if len(w.buf) >= flushAt {
		return w.flush()
	}
	return nil
}

// flush writes the collected bytes, which end at offset.
func (w *frameWriter) flush() error {
	_, err := w.w.WriteAt(w.buf, w.offset-int64(len(w.buf)))
	w.buf = w.buf[:0]
	return err
}

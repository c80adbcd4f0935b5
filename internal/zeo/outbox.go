package zeo

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

const (
	// pieceBytes is how much is written at a time: the peer has to take so much
	// within stallTime.
	pieceBytes = 256 << 10
	// stallTime is how long a peer may take nothing before it is given up, at least.
	stallTime = time.Minute
	// stallSlack is how much longer it may be: so a deadline is good for many pieces, and setting one
	// costs as much as a short answer.
	stallSlack = 5 * time.Second
	// streamBytes is the limit of waiting bytes from which on a blob adds no more to an
	// outbox.
	streamBytes = 1 << 20
	// scarceBytes is the same while the memory for waiting frames is short; each outbox may have
	// as much.
	scarceBytes = 64 << 10
)

// errQueue is why a connection ends whose client does not read.
var errQueue = errors.New("client too slow: its send queue exceeds max-queue")

// outbox holds the frames that wait to be sent on a connection, in order. All methods may
// be called concurrently.
type outbox struct {
	conn  net.Conn
	limit int64
	kept  int           // bytes of the largest buffer that is kept for later
	few   int           // bytes of an answer for which there is always memory, and that may wait before one is added
	share *budget.Share // of the bytes that wait in all outboxes
	clock func() time.Time
	over  func() // called when all outboxes have more than there is memory for; it takes no locks of them

	mu      sync.Mutex
	waiting []byte        // guarded by mu: whole frames
	shared  []sharedFrame // guarded by mu: those between them that other outboxes have too
	spare   []byte        // guarded by mu: a buffer to be used again
	pending int64         // guarded by mu: bytes in waiting, and those that are being written
	total   int64         // guarded by mu: bytes that were put in since the beginning
	large   largeAnswer   // guarded by mu: of the pending bytes
	writing bool          // guarded by mu: somebody writes
	began   time.Time     // guarded by mu: when the piece was that is being written
	piece   int           // guarded by mu: its bytes
	pieces  int64         // guarded by mu: how many were begun
	until   time.Time     // guarded by mu: the deadline of conn for writing
	failed  error         // guarded by mu: nothing more is taken
	left    int64         // guarded by mu: bytes that were written by then, at least
	sealed  bool          // guarded by mu: nothing more is written, without an error
	idle    chan struct{} // guarded by mu: closed when nobody writes any more; nil while nobody waits for that
	drained chan struct{} // guarded by mu: closed when pending has become small; nil while nobody waits for that
	wake    chan struct{} // for the writer; capacity 1
}

func newOutbox(conn net.Conn, limit int64, kept int, share *budget.Share, clock func() time.Time) *outbox {
	return &outbox{conn: conn, limit: limit, kept: kept, few: min(kept, scarceBytes), share: share, clock: clock, wake: make(chan struct{}, 1)}
}

// put adds the frame whose payload f appends. It never blocks. The caller calls flush or
// kick afterwards. An error of f is returned and leaves the outbox as it was. If the
// outbox has failed nothing is added, without an error: the connection is about to end.
func (o *outbox) put(f func([]byte) ([]byte, error)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return nil
	}
	before := len(o.waiting)
	b, err := wire.AppendFrame(o.waiting, f)
	if err != nil {
		return err
	}
	o.waiting = b
	o.added(before)
	return nil
}

// putLoaded is put for the answer to a loadBefore.
func (o *outbox) putLoaded(e wire.Encoding, rawID []byte, l *zodb.Revision) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return
	}
	before := len(o.waiting)
	b := append(o.waiting, 0, 0, 0, 0)
	b = wire.AppendLoaded(b, e, rawID, l.Data, l.Serial, l.End)
	putLength(b[before:])
	o.waiting = b
	o.added(before)
}

// putRaw adds payloads that are encoded already.
func (o *outbox) putRaw(payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return
	}
	before := len(o.waiting)
	b := append(o.waiting, 0, 0, 0, 0)
	b = append(b, payload...)
	putLength(b[before:])
	o.waiting = b
	o.added(before)
}

func putLength(frame []byte) {
	n := len(frame) - 4
	frame[0], frame[1], frame[2], frame[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
}

// added counts the bytes appended to waiting. mu must be held.
func (o *outbox) added(before int) {
	n := int64(len(o.waiting) - before)
	o.count(n, n)
}

// largeAnswer is the one answer for whose size a client is not cut off: it was put in when
// little waited, and the client has the time that it takes to send it.
type largeAnswer struct {
	bytes, memory int64
	written       bool // it is being written
}

// count counts n bytes put in, and charges the budget for memory. mu must be held.
func (o *outbox) count(n, memory int64) {
	if n > o.large.bytes && o.pending <= min(o.limit, streamBytes) {
		o.large = largeAnswer{bytes: n, memory: memory}
	}
	o.pending += n
	o.total += n
	o.share.Add(memory)
	if o.pending-o.large.bytes > o.limit || o.share.Held()-o.large.memory > streamBytes && o.share.Crowded() {
		o.fail(errQueue)
	}
	if o.over != nil && o.share.Overdrawn() {
		o.over()
	}
}

// counts returns the bytes that were put in since the beginning, and those that wait.
func (o *outbox) counts() (total, pending int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total, o.pending
}

// begun returns how many pieces were begun, and whether one is being written.
func (o *outbox) begun() (pieces int64, writing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pieces, o.writing
}

// leftAtTheEnd returns how many of all bytes were written before the outbox failed, at least.
func (o *outbox) leftAtTheEnd() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.left
}

// fail makes the outbox take nothing more. mu must be held.
func (o *outbox) fail(err error) {
	if o.failed == nil {
		o.failed, o.left = err, o.total-o.pending
		o.share.Give(memoryOf(o.waiting, o.shared))
		for i := range o.shared {
			o.shared[i].end()
		}
		o.waiting, o.shared = nil, nil
		// The writer must not go on waiting for a peer that does not read. If that
		// fails the connection is closed already.
		_ = o.conn.SetWriteDeadline(time.Unix(1, 0))
		o.drain()
		o.kick()
	}
}

// drain wakes the waiters for room. mu must be held.
func (o *outbox) drain() {
	if o.drained != nil {
		close(o.drained)
		o.drained = nil
	}
}

// kick makes the writer look. It never blocks.
func (o *outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// flush writes the waiting frames, unless another goroutine is writing, which will then
// write them too. It is called where blocking on the peer is right.
func (o *outbox) flush() error {
	o.mu.Lock()
	for !o.writing && len(o.waiting)+len(o.shared) > 0 && o.failed == nil {
		o.writing, o.began, o.piece = true, o.clock(), 0
		b, shared := o.waiting, o.shared
		o.waiting, o.spare, o.shared = o.spare[:0], nil, nil
		o.large.written = true
		sealed := o.sealed
		o.mu.Unlock()
		n, err := o.writeAll(b, shared, sealed)
		o.mu.Lock()
		o.writing = false
		o.signalIdle()
		if err != nil {
			o.fail(err)
		}
		o.pending -= n
		if o.large.written {
			o.large = largeAnswer{}
		}
		o.share.Give(memoryOf(b, shared))
		for i := range shared {
			shared[i].end()
		}
		if cap(b) <= o.kept {
			o.spare = b[:0]
		}
		if o.pending < streamBytes {
			o.drain()
		}
	}
	err := o.failed
	o.mu.Unlock()
	return err
}

// flushAll is flush, and waits for the end of a write by somebody else: all waiting
// frames were sent, and the connection can be closed.
func (o *outbox) flushAll() error { return o.finish(false) }

// seal is flushAll, and later frames are dropped.
func (o *outbox) seal() error { return o.finish(true) }

func (o *outbox) finish(seal bool) error {
	for {
		if err := o.flush(); err != nil {
			return err
		}
		o.mu.Lock()
		if !o.writing {
			defer o.mu.Unlock()
			o.sealed = o.sealed || seal
			return o.failed
		}
		if o.idle == nil {
			o.idle = make(chan struct{})
		}
		idle := o.idle
		o.mu.Unlock()
		<-idle // fail ends the write
	}
}

// signalIdle wakes the waiters for the end of a write. mu must be held.
func (o *outbox) signalIdle() {
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
}

// writeAll writes the frames, unless the outbox is sealed, and returns their size, also with an error.
func (o *outbox) writeAll(b []byte, shared []sharedFrame, sealed bool) (n int64, err error) {
	n = int64(len(b))
	if sealed {
		for _, s := range shared {
			n += s.size()
		}
		return n, nil
	}
	at := 0
	for _, s := range shared {
		n += s.size()
		if err == nil {
			err = o.write(b[at:s.at])
		}
		if err == nil && s.file != nil {
			err = s.file.writeTo(o)
		} else if err == nil {
			err = o.write(s.frame)
		}
		at = s.at
	}
	if err == nil {
		err = o.write(b[at:])
	}
	return n, err
}

func (o *outbox) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), pieceBytes)
		if err := o.allowWrite(n); err != nil {
			return err
		}
		if _, err := o.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// allowWrite gives the peer time to take the next piece, of n bytes, unless the outbox has
// failed.
func (o *outbox) allowWrite(n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return o.failed
	}
	o.began, o.piece = o.clock(), n
	o.pieces++
	if o.until.Sub(o.began) >= stallTime {
		return nil
	}
	o.until = o.began.Add(stallTime + stallSlack)
	return o.conn.SetWriteDeadline(o.until)
}

// run writes the frames of others, until the outbox fails.
func (o *outbox) run() error {
	for range o.wake {
		if err := o.flush(); err != nil {
			return err
		}
	}
	return nil
}

// close ends run; waiting frames are dropped.
func (o *outbox) close(cause error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail(cause)
}

// stream sends the waiting frames once they are many, and waits until there is room for
// another piece of a stream.
func (o *outbox) stream(ctx context.Context) error {
	for {
		o.mu.Lock()
		pending, err := o.pending, o.failed
		room := int64(streamBytes)
		if pending > int64(o.few) && o.share.Crowded() {
			room = int64(o.few)
		}
		if pending >= room && o.drained == nil {
			o.drained = make(chan struct{})
		}
		drained := o.drained
		idle := !o.writing
		o.mu.Unlock()
		if err != nil || pending < min(pieceBytes, room) {
			return err
		}
		if idle {
			if err := o.flush(); err != nil {
				return err
			}
			continue
		}
		if pending < room {
			return nil
		}
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

package zeo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/zodb"
)

// parked are the steps of a transaction for which there was no memory when they came. They
// are in a file, and done in their order when its vote has got the memory. So a large
// transaction waits for another one, and nothing else of its connection does.
type parked struct {
	file  zodb.Scratch
	buf   []byte // behind size, and not written yet
	size  int64  // bytes that are written
	done  int64  // bytes of the file that were done
	blobs []*step
	ahead []byte // read ahead, from done on
	next  *step  // the first one that is not done, if it was read, without its data
	bytes int    // of its data

	steps, frames *budget.Share // of its connection
	large         int64         // bytes of frames that are held, for a record that was read
}

const (
	parkedHead  = 30
	parkedChunk = 4 << 10 // that are written or read at once, but for larger records
	// parkedMemory is the memory of parked steps: buf and ahead. It is sure for a connection.
	parkedMemory = 2 * parkedChunk
)

// park puts a step into the file.
func (c *conn) park(w *work, st *step) error {
	if b := st.blob.Staged; b != nil { // many may be parked, and one that is not closed is an open file
		if err := b.Close(); err != nil {
			return err
		}
	}
	w.memory.give(st.charged)
	st.charged = 0
	if w.parked == nil {
		if err := c.openParked(w); err != nil {
			return err
		}
	}
	p := w.parked
	if st.kind == stepBlob {
		blob := &step{kind: stepBlob, blob: st.blob, charged: st.memory()}
		if !c.srv.budgets.large.hold(c, w.txn, blob.charged) && !w.memory.late(blob.charged) {
			return c.scarce("a transaction of this many blobs, beside another large one")
		}
		p.blobs = append(p.blobs, blob)
	}
	return p.add(st)
}

func (c *conn) openParked(w *work) error {
	if err := c.takeTxnFile(w); err != nil {
		return err
	}
	f, err := c.hub.storage.Scratch()
	if err != nil {
		return err
	}
	c.has.steps.Add(parkedMemory)
	w.parked = &parked{file: f, steps: c.has.steps, frames: c.has.frames}
	return nil
}

// add appends a step.
func (p *parked) add(st *step) error {
	var b [parkedHead]byte
	b[0] = byte(st.kind)
	if st.data != nil {
		b[1] = 1
	}
	binary.BigEndian.PutUint64(b[2:], uint64(st.oid))
	binary.BigEndian.PutUint64(b[10:], uint64(st.serial))
	binary.BigEndian.PutUint64(b[18:], uint64(st.from))
	binary.BigEndian.PutUint32(b[26:], uint32(len(st.data)))
	if len(p.buf)+parkedHead > parkedChunk {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.buf = append(p.buf, b[:]...)
	if len(p.buf)+len(st.data) > parkedChunk {
		if err := p.flush(); err != nil {
			return err
		}
	}
	if len(st.data) > parkedChunk {
		return p.write(st.data)
	}
	p.buf = append(p.buf, st.data...)
	return nil
}

// flush writes the collected bytes.
func (p *parked) flush() error {
	err := p.write(p.buf)
	p.buf = p.buf[:0]
	return err
}

func (p *parked) write(b []byte) error {
	if _, err := p.file.WriteAt(b, p.size); err != nil {
		return fmt.Errorf("put the steps of a large transaction aside: %w", err)
	}
	p.size += int64(len(b))
	return nil
}

// first returns the first step that is not done, without its data, and how many bytes these are;
// nil: there is none.
func (p *parked) first() (*step, int, error) {
	if p.next != nil {
		return p.next, p.bytes, nil
	}
	if len(p.buf) > 0 {
		if err := p.flush(); err != nil {
			return nil, 0, err
		}
	}
	p.buf = nil
	if p.done == p.size {
		return nil, 0, nil
	}
	if err := p.read(parkedHead); err != nil {
		return nil, 0, err
	}
	b := p.ahead
	st := &step{kind: stepKind(b[0]), oid: zodb.OID(binary.BigEndian.Uint64(b[2:])),
		serial: zodb.TID(binary.BigEndian.Uint64(b[10:])), from: zodb.TID(binary.BigEndian.Uint64(b[18:]))}
	if st.kind == stepBlob {
		st.blob, st.charged = p.blobs[0].blob, p.blobs[0].charged
	}
	p.next, p.bytes = st, int(binary.BigEndian.Uint32(b[26:]))
	return st, p.bytes, nil
}

// load reads the data of the first step. It waits for the memory of a large record. The error is
// the cause of ctx if that has ended.
func (p *parked) load(ctx context.Context) error {
	n := parkedHead + p.bytes
	if n > parkedChunk && len(p.ahead) < n {
		if err := p.frames.Take(ctx, int64(n)); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		p.large = int64(n)
	}
	hasData := p.ahead[1] == 1
	if err := p.read(n); err != nil {
		return err
	}
	if hasData {
		p.next.data = p.ahead[parkedHead:n:n]
	}
	return nil
}

// read makes sure that n bytes were read ahead.
func (p *parked) read(n int) error {
	if len(p.ahead) >= n {
		return nil
	}
	b := make([]byte, min(int64(max(n, parkedChunk)), p.size-p.done))
	if len(b) < n {
		return errors.New("the steps of a transaction that were put aside end early")
	}
	if _, err := p.file.ReadAt(b, p.done); err != nil {
		return fmt.Errorf("read the steps of a transaction that were put aside: %w", err)
	}
	p.ahead = b
	return nil
}

// pass notes that the first step is being done, or not needed: it is not the first one any more.
func (p *parked) pass() {
	n := parkedHead + p.bytes
	if p.next.kind == stepBlob {
		p.blobs = p.blobs[1:]
	}
	p.ahead = p.ahead[min(n, len(p.ahead)):]
	p.next, p.bytes, p.done = nil, 0, p.done+int64(n)
}

// applied notes that the step which was passed is done.
func (p *parked) applied() {
	p.frames.Give(p.large)
	p.large = 0
}

// unpark drops all that is parked.
func (c *conn) unpark(w *work) {
	p := w.parked
	if p == nil {
		return
	}
	w.parked = nil
	c.dropAll(p.blobs)
	p.applied()
	p.steps.Give(parkedMemory)
	if err := p.file.Close(); err != nil {
		c.log().Warn("could not remove a transaction's temporary files; the next open will", "err", err)
	}
}

// catchUp does all steps that are not done, in the goroutine of the vote, and waits for their
// memory. Its error is that of an operation, or the cause of ctx: then the rest is done
// the next time.
func (c *conn) catchUp(ctx context.Context, w *work) error {
	for w.failed == nil && len(w.queued) > 0 { // behind those that are parked, if there are any
		st := w.queued[0]
		w.queued = w.queued[1:]
		c.do(w, st)
	}
	for w.failed == nil && w.parked != nil {
		err := c.doParked(ctx, w)
		if err != nil && ctx.Err() != nil {
			return err
		}
		w.failed = err
	}
	return w.failed
}

// doParked does the first step that is parked.
func (c *conn) doParked(ctx context.Context, w *work) error {
	p := w.parked
	st, bytes, err := p.first()
	if err != nil {
		return err
	}
	if st == nil {
		c.unpark(w)
		return nil
	}
	n, err := c.weigh(w, st.memory(), bytes)
	if err != nil {
		return err
	}
	if more := n - st.charged; more > 0 {
		if err := c.srv.budgets.large.await(ctx, c, w, more); err != nil {
			return err
		}
		st.charged = n
	}
	if st.data == nil {
		if err := p.load(ctx); err != nil {
			return err
		}
	}
	p.pass()
	err = c.store(w, st, n)
	p.applied()
	if err != nil {
		c.dropShared(st)
	}
	return err
}

package zeo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/zodb"
)

// parked are the steps of a transaction for which there was no memory when they came. They
// are in a file, and done in their order when its vote has got the memory. So a large
// transaction waits for another one, and nothing else of its connection does.
type parked struct {
	file  zodb.Scratch
	buf   []byte // what is behind size, and not written yet
	size  int64  // bytes that are written
	done  int64  // bytes of the file that were done
	blobs []*step
	ahead []byte // what was read ahead, from done on
	next  *step  // the first one that is not done, if it was read
}

const (
	parkedHead  = 30
	parkedChunk = 16 << 10
)

// park puts a step into the file.
func (c *conn) park(x *txn, st *step) error {
	if w := st.blob.Staged; w != nil { // many may be parked, and one that is not closed is an open file
		if err := w.Close(); err != nil {
			return err
		}
	}
	p := x.parked
	if p == nil {
		if err := c.takeTxnFile(x); err != nil {
			return err
		}
		f, err := c.hub.storage.Scratch()
		if err != nil {
			return err
		}
		p = &parked{file: f}
		x.parked = p
	}
	var b [parkedHead]byte
	b[0] = byte(st.kind)
	if st.data != nil {
		b[1] = 1
	}
	binary.BigEndian.PutUint64(b[2:], uint64(st.oid))
	binary.BigEndian.PutUint64(b[10:], uint64(st.serial))
	binary.BigEndian.PutUint64(b[18:], uint64(st.from))
	binary.BigEndian.PutUint32(b[26:], uint32(len(st.data)))
	p.buf = append(append(p.buf, b[:]...), st.data...)
	if st.kind == stepBlob {
		p.blobs = append(p.blobs, &step{kind: stepBlob, blob: st.blob})
	}
	if len(p.buf) < parkedChunk {
		return nil
	}
	return p.flush()
}

// flush writes what was collected.
func (p *parked) flush() error {
	if _, err := p.file.WriteAt(p.buf, p.size); err != nil {
		return err
	}
	p.size += int64(len(p.buf))
	if p.buf = p.buf[:0]; cap(p.buf) > 4*parkedChunk {
		p.buf = nil
	}
	return nil
}

// first returns the first step that is not done; nil: there is none.
func (p *parked) first() (*step, error) {
	if p.next != nil {
		return p.next, nil
	}
	if len(p.buf) > 0 {
		if err := p.flush(); err != nil {
			return nil, err
		}
	}
	if p.done == p.size {
		return nil, nil
	}
	if err := p.read(parkedHead); err != nil {
		return nil, err
	}
	b := p.ahead
	n := int(binary.BigEndian.Uint32(b[26:]))
	st := &step{kind: stepKind(b[0]), oid: zodb.OID(binary.BigEndian.Uint64(b[2:])),
		serial: zodb.TID(binary.BigEndian.Uint64(b[10:])), from: zodb.TID(binary.BigEndian.Uint64(b[18:]))}
	hasData := b[1] == 1
	if err := p.read(parkedHead + n); err != nil {
		return nil, err
	}
	if hasData {
		st.data = p.ahead[parkedHead : parkedHead+n : parkedHead+n]
	}
	if st.kind == stepBlob {
		st.blob = p.blobs[0].blob
	}
	p.next = st
	return st, nil
}

// read makes sure that so many bytes were read ahead.
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

// pass notes that the first step was done.
func (p *parked) pass() {
	st := p.next
	n := parkedHead + len(st.data)
	p.next, p.ahead, p.done = nil, p.ahead[n:], p.done+int64(n)
	if st.kind == stepBlob {
		p.blobs = p.blobs[1:]
	}
}

// unpark drops all that is parked.
func (c *conn) unpark(x *txn) {
	p := x.parked
	if p == nil {
		return
	}
	x.parked = nil
	for _, st := range p.blobs {
		c.dropShared(st)
	}
	if err := p.file.Close(); err != nil {
		c.log().Warn("could not remove a transaction's temporary files; the next open will", "err", err)
	}
}

// catchUp does all steps that are not done, in the goroutine of the vote, and waits for their
// memory. Its error is what an operation met, or the cause of ctx: then what is left is
// done the next time.
func (c *conn) catchUp(ctx context.Context, x *txn) error {
	large := &c.srv.budgets.large
	for x.failed == nil && x.parked != nil {
		st, err := x.parked.first()
		if err != nil {
			x.failed = err
			break
		}
		if st == nil {
			c.unpark(x)
			break
		}
		n, err := c.weigh(x, st)
		if err == nil {
			err = large.await(ctx, c, x, n)
		}
		if err != nil && ctx.Err() != nil {
			return err
		}
		x.parked.pass()
		if err == nil {
			err = c.store(x, st, n)
		}
		if x.failed = err; err != nil {
			c.dropShared(st)
		}
	}
	for len(x.queued) > 0 {
		st := x.queued[0]
		x.queued = x.queued[1:]
		c.do(x, st)
		if x.parked != nil {
			return c.catchUp(ctx, x)
		}
	}
	return x.failed
}

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"runtime"

	"github.com/dirstorage/dirstorage/internal/listen"
	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// conn is a registered connection on which one goroutine works.
type conn struct {
	raw    *zeoclient.Raw
	e      wire.Encoding
	last   zodb.TID // that was announced
	out    []byte   // frames to be written
	nextID int64
	undo   func() bool // ends the watch over ctx
	announcement
}

// announcement is the beginning of a message about another client's transaction. Such messages have
// to be passed over fast: with 32 connections each commit makes 31 of them.
type announcement struct {
	head []byte // up to the tid
}

// dial makes a registered connection, which is cut when ctx ends.
func dial(ctx context.Context, o zeoclient.Options) (*conn, error) {
	raw, err := zeoclient.DialRaw(ctx, o)
	if err != nil {
		return nil, err
	}
	c := &conn{raw: raw, nextID: 1, undo: context.AfterFunc(ctx, func() { raw.Close() })}
	if c.last, err = raw.Register(o.Encoding, o.Storage, false); err != nil {
		c.close()
		return nil, err
	}
	c.e = raw.Encoding
	const mark = 0x7A6B5C4D3E2F1A0B
	b, err := wire.AppendCall(nil, c.e, "invalidateTransaction", zodb.TID(mark), wire.List{})
	if err != nil {
		c.close()
		return nil, err
	}
	c.head = b[:bytes.Index(b, zodb.TID(mark).Bytes())]
	return c, nil
}

func (c *conn) close() {
	c.undo()
	// Nothing is under way any more, or ctx has ended.
	_ = c.raw.Close()
}

// announced looks whether a frame tells of somebody else's transaction.
func (c *conn) announced(frame []byte) bool {
	if !bytes.HasPrefix(frame, c.head) || len(frame) < len(c.head)+8 {
		return false
	}
	c.last = zodb.TIDFromBytes(frame[len(c.head):])
	return true
}

// request appends a request to the output, and returns its id.
func (c *conn) request(name string, args ...any) (int64, error) {
	c.nextID++
	return c.nextID, c.message(c.nextID, false, name, args...)
}

// tell appends a one-way call.
func (c *conn) tell(name string, args ...any) error { return c.message(0, true, name, args...) }

func (c *conn) message(id int64, oneWay bool, name string, args ...any) error {
	b, err := wire.AppendFrame(c.out, func(b []byte) ([]byte, error) {
		return wire.AppendRequest(b, c.e, id, oneWay, name, args...)
	})
	c.out = b
	return err
}

// flush writes the output.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.raw.Conn.Write(c.out)
	c.out = c.out[:0]
	return err
}

// alone is for the only connection: with one processor it waits in the kernel.
func (c *conn) alone() {
	if runtime.GOMAXPROCS(0) == 1 {
		listen.NewKernelWait(c.raw.Conn).Set(true)
	}
}

// answer reads until the answer to a request is there; it is good until the next
// one is read.
func (c *conn) answer(id int64) (any, error) {
	for {
		frame, err := c.raw.In.Next()
		if err != nil {
			return nil, err
		}
		if c.announced(frame) {
			continue
		}
		m, err := wire.Decode(c.e, frame)
		if err != nil {
			return nil, err
		}
		if m.ID != id || m.Name != ".reply" {
			continue
		}
		if m.Failed() {
			return nil, zeoclient.AsServerError(m.Args)
		}
		return m.Args, nil
	}
}

// template is a loadBefore request as a Python client sends it, with the arguments as its id, and
// the beginning of its answer.
type template struct {
	frame    []byte
	oids     [2]int // where the oid is in frame
	tids     [2]int // where the tid is
	head     []byte // of an answer, up to the oid
	oid      int    // where the oid is in an answer
	tail     []byte // of an answer, behind the id: a result
	tailFrom int
}

func newTemplate(e wire.Encoding) (*template, error) {
	const oid, tid = zodb.OID(0x7A6B5C4D3E2F1A0B), zodb.TID(0x7B6C5D4E3F2A1B0C)
	id := wire.Tuple{oid, tid}
	t := &template{}
	var err error
	t.frame, err = wire.AppendFrame(nil, func(b []byte) ([]byte, error) {
		return wire.AppendRequest(b, e, id, false, "loadBefore", oid, tid)
	})
	if err != nil {
		return nil, err
	}
	t.oids[0], t.oids[1] = bytes.Index(t.frame, oid.Bytes()), bytes.LastIndex(t.frame, oid.Bytes())
	t.tids[0], t.tids[1] = bytes.Index(t.frame, tid.Bytes()), bytes.LastIndex(t.frame, tid.Bytes())
	const frameHead = 4
	t.oid = t.oids[0] - frameHead
	t.head = t.frame[frameHead:t.oids[0]]
	// The flag 0 follows the id, which ends behind the tid or, pickled, behind the opcode of the tuple.
	t.tailFrom = t.tids[0] - frameHead + 8
	t.tail = []byte{0}
	if e == wire.Pickle {
		t.tail = []byte{0x86, 'K', 0}
	}
	return t, nil
}

// append appends a request.
func (t *template) append(out []byte, oid zodb.OID, before zodb.TID) []byte {
	n := len(out)
	out = append(out, t.frame...)
	for i := range 2 {
		binary.BigEndian.PutUint64(out[n+t.oids[i]:], uint64(oid))
		binary.BigEndian.PutUint64(out[n+t.tids[i]:], uint64(before))
	}
	return out
}

// loaded returns the oid that an answer is about; false if it is anything but a
// result with a record.
func (t *template) loaded(frame []byte) (zodb.OID, bool) {
	if len(frame) < t.tailFrom+len(t.tail)+dataBytes || !bytes.HasPrefix(frame, t.head) || !bytes.HasPrefix(frame[t.tailFrom:], t.tail) {
		return 0, false
	}
	return zodb.OIDFromBytes(frame[t.oid:]), true
}

// unexpected makes an error of an answer that is not a record; nil for other messages.
func (c *conn) unexpected(frame []byte) error {
	if c.announced(frame) {
		return nil
	}
	m, err := wire.Decode(c.e, frame)
	switch {
	case err != nil:
		return err
	case m.Failed():
		return zeoclient.AsServerError(m.Args)
	case m.Name == ".reply":
		return fmt.Errorf("a load was answered without the record that was stored: %.100v", m.Args)
	}
	return nil
}

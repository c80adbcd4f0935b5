package zeoclient

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// chunkBytes is the size of the pieces in which blobs are sent, as Python clients do it.
const chunkBytes = 59000

// chunksAtOnce is how many of them are sent with one write.
const chunksAtOnce = 4

// BeginOptions is for copies of another storage.
type BeginOptions struct {
	TID    zodb.TID // 0 = the server chooses
	Status byte     // 0 = ' '
}

// Txn is an open transaction. Its methods are called by one goroutine at a time,
// and there is one at a time on a connection. Only Vote, Finish and Abort are answered: an error of
// the others is returned by Vote, or the connection ends.
type Txn struct {
	c    *Client
	ttid int64
}

// Conflict is a store that the server leaves to the client to resolve.
type Conflict struct {
	OID       zodb.OID
	Committed zodb.TID // the current revision
	Based     zodb.TID // the revision that the store was based on
	Data      []byte   // the record that was stored
}

// Begin starts a transaction. It is sent together with the next message; see [Client.Flush].
func (c *Client) Begin(meta zodb.TxnMeta, o BeginOptions) (*Txn, error) {
	extension := wire.UnpickleDict(meta.Extension)
	if extension == nil {
		extension = wire.Dict{}
	}
	return c.BeginWith(meta.User, meta.Description, extension, o)
}

// BeginWith is Begin with an extension as it is sent.
func (c *Client) BeginWith(user, description []byte, extension wire.Dict, o BeginOptions) (*Txn, error) {
	c.mu.Lock()
	c.ttids++
	t := &Txn{c: c, ttid: c.ttids}
	c.mu.Unlock()
	if o.Status == 0 {
		o.Status = ' '
	}
	return t, c.oneWay(false, "tpc_begin", t.ttid, notNil(user), notNil(description), extension, noneOr(o.TID), string(rune(o.Status)))
}

// notNil makes no bytes empty bytes, which are sent as bytes.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// noneOr is None for 0.
func noneOr(t zodb.TID) any {
	if t == 0 {
		return nil
	}
	return t
}

// Handle is the client's name of the transaction.
func (t *Txn) Handle() int64 { return t.ttid }

// Store stores a record; serial is the revision that it is based on, 0 for a new object.
func (t *Txn) Store(oid zodb.OID, serial zodb.TID, data []byte) error {
	return t.c.oneWay(false, "storea", oid, serial, notNil(data), t.ttid)
}

// Restore stores a record of a copied transaction without looking for conflicts.
func (t *Txn) Restore(rec zodb.Record) error {
	var data any
	if rec.Exists {
		data = notNil(rec.Data)
	}
	return t.c.oneWay(false, "restorea", rec.OID, rec.TID, data, noneOr(rec.DataTID), t.ttid)
}

// Delete makes an object not exist any more.
func (t *Txn) Delete(oid zodb.OID, serial zodb.TID) error {
	return t.c.oneWay(false, "deleteObject", oid, serial, t.ttid)
}

// CheckCurrent makes the vote fail unless serial is the current revision then.
func (t *Txn) CheckCurrent(oid zodb.OID, serial zodb.TID) error {
	return t.c.oneWay(false, "checkCurrentSerialInTransaction", oid, serial, t.ttid)
}

// Undo takes back the changes of a transaction.
func (t *Txn) Undo(tid zodb.TID) error {
	return t.c.oneWay(false, "undoa", undoID(tid), t.ttid)
}

// StoreBlob stores a record and the content of its blob, which is read to its
// end and sent while it is read.
func (t *Txn) StoreBlob(oid zodb.OID, serial zodb.TID, data []byte, blob io.Reader) error {
	if err := t.Store(oid, serial, data); err != nil {
		return err
	}
	if err := t.c.oneWay(false, "storeBlobStart"); err != nil {
		return err
	}
	head, tail, err := wire.AroundBytes(t.c.raw.Encoding, chunkBytes, "storeBlobChunk")
	if err != nil {
		return err
	}
	// The content is read into its place in the frames. The first one is sent alone, because many blobs
	// are small, then some at once.
	frames := framesAround(head, tail, 1)
	size := len(frames)
	for at := 0; ; {
		content := frames[at+len(head):][:chunkBytes]
		n, err := io.ReadFull(blob, content)
		if err == nil {
			if at += size; at == len(frames) {
				err = t.c.putFrames(frames)
				if at == size {
					frames = framesAround(head, tail, chunksAtOnce)
				}
				at = 0
			}
		} else if ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); ended {
			return t.endBlob(oid, serial, data, frames[:at], content[:n])
		}
		if err != nil {
			return err
		}
	}
}

// framesAround returns n frames with room for a chunk in each.
func framesAround(head, tail []byte, n int) []byte {
	size := len(head) + chunkBytes + len(tail)
	frames := make([]byte, n*size)
	for at := 0; at < len(frames); at += size {
		copy(frames[at:], head)
		copy(frames[at+size-len(tail):], tail)
	}
	return frames
}

// endBlob sends frames of a blob, and the rest of its content, which is shorter than a chunk.
func (t *Txn) endBlob(oid zodb.OID, serial zodb.TID, data, frames, rest []byte) error {
	if len(frames) > 0 {
		if err := t.c.putFrames(frames); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		if err := t.c.oneWay(true, "storeBlobChunk", rest); err != nil {
			return err
		}
	}
	return t.c.oneWay(false, "storeBlobEnd", oid, serial, notNil(data), t.ttid)
}

// Vote asks the server to make the transaction ready. It waits for others that
// do the same. With conflicts the transaction is still open: store resolved records based
// on the committed ones and vote again, or abort. resolved are objects whose
// records are others than those that were stored. After an error the transaction has ended
// on the server.
func (t *Txn) Vote(ctx context.Context) (resolved []zodb.OID, conflicts []Conflict, err error) {
	return t.StartVote().Wait(ctx)
}

// PendingVote is a vote that was begun.
type PendingVote struct{ p *Pending }

// StartVote is Vote without waiting for the answer. It is sent at once.
func (t *Txn) StartVote() PendingVote {
	v := PendingVote{t.c.Start("vote", t.ttid)}
	// If it fails, Wait tells.
	_ = t.c.Flush()
	return v
}

// Done is closed when the answer is there.
func (p PendingVote) Done() <-chan struct{} { return p.p.Done() }

// Wait returns the result, see [Txn.Vote].
func (p PendingVote) Wait(ctx context.Context) (resolved []zodb.OID, conflicts []Conflict, err error) {
	v, err := p.p.Wait(ctx)
	if err != nil || v == nil {
		return nil, nil, err
	}
	list, err := sequence(v, -1)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range list {
		if d, ok := v.(wire.Dict); ok {
			c, err := asConflict(d)
			if err != nil {
				return nil, nil, err
			}
			conflicts = append(conflicts, c)
			continue
		}
		oid, err := asOID(v)
		if err != nil {
			return nil, nil, err
		}
		resolved = append(resolved, oid)
	}
	return resolved, conflicts, nil
}

func asConflict(d wire.Dict) (Conflict, error) {
	var c Conflict
	var err error
	if c.OID, err = asOID(d.Get("oid")); err != nil {
		return c, err
	}
	pair, err := sequence(d.Get("serials"), 2)
	if err != nil {
		return c, err
	}
	if c.Committed, err = asTID(pair[0]); err != nil {
		return c, err
	}
	if c.Based, err = tidOrNone(pair[1]); err != nil {
		return c, err
	}
	c.Data, err = asBytes(d.Get("data"))
	return c, err
}

// Finish commits a transaction that was voted for and returns its tid.
// published, if not nil, is called on the reader's goroutine, in the order of
// all announcements and before LastTID moves. If the connection is lost, or ctx
// ends, it may be committed or not.
func (t *Txn) Finish(ctx context.Context, published func(zodb.TID)) (zodb.TID, error) {
	var tid zodb.TID
	p := t.c.start(func(v any, err error) error {
		if err != nil {
			return nil
		}
		if v == nil {
			return nil // the server knows no such transaction
		}
		if tid, err = asTID(v); err != nil {
			return err
		}
		return t.c.announced(tid, func() {
			if published != nil {
				published(tid)
			}
		})
	}, "tpc_finish", t.ttid)
	v, err := p.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if v == nil {
		return 0, fmt.Errorf("%w: the server does not have it", zodb.ErrState)
	}
	return tid, nil
}

// Abort ends the transaction.
func (t *Txn) Abort(ctx context.Context) error {
	_, err := t.c.Call(ctx, "tpc_abort", t.ttid)
	return err
}

// Commit votes and finishes, for transactions whose conflicts nobody resolves:
// a conflict that the server leaves to the client is a *zodb.ConflictError. After an
// error it is aborted.
func (t *Txn) Commit(ctx context.Context) (zodb.TID, error) {
	_, conflicts, err := t.Vote(ctx)
	if err == nil && len(conflicts) > 0 {
		c := conflicts[0]
		err = &zodb.ConflictError{OID: c.OID, Serial: c.Based, Current: c.Committed}
	}
	if err != nil {
		return 0, errors.Join(err, t.Abort(ctx))
	}
	return t.Finish(ctx, nil)
}

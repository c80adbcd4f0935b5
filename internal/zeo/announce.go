package zeo

import (
	"context"
	"sync"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// readers wait until the transactions that they read are announced.
type readers struct {
	mu   sync.Mutex
	next chan struct{} // guarded by mu: closed at the next announcement; nil while nobody waits
}

// wake is called after hub.announced has changed.
func (r *readers) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		close(r.next)
		r.next = nil
	}
}

// awaitAnnounced waits until a transaction that can be read already is
// announced too: the committer is between the two for a moment, or for as long as it takes
// to share its blobs. Clients warn of an invalidation by the transaction that they have
// an object of.
func (h *hub) awaitAnnounced(ctx context.Context, tid zodb.TID) {
	for zodb.TID(h.announced.Load()) < tid && ctx.Err() == nil {
		r := &h.readers
		r.mu.Lock()
		if zodb.TID(h.announced.Load()) >= tid {
			r.mu.Unlock()
			return
		}
		if r.next == nil {
			r.next = make(chan struct{})
		}
		next := r.next
		r.mu.Unlock()
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
}

// announcement is a transaction that everybody has to be told of.
type announcement struct {
	tid       zodb.TID
	oids      []zodb.OID
	sorted    []zodb.OID // the same ones
	committer *conn      // told otherwise
	last      func()     // called when all others were told, still under the lock
}

// frame is the invalidation as it is sent, by all connections of an encoding alike.
func (a *announcement) frame(e wire.Encoding) []byte {
	oids := make(wire.List, len(a.oids))
	for i, oid := range a.oids {
		oids[i] = oid
	}
	b, err := wire.AppendFrame(nil, func(b []byte) ([]byte, error) {
		return wire.AppendCall(b, e, "invalidateTransaction", a.tid, oids)
	})
	if err != nil {
		panic("an invalidation cannot be encoded: " + err.Error())
	}
	return b
}

// announce puts a transaction that can be read into everybody's outbox. It is
// called in the order of the tids, by the engine's committer. The caller of the commit
// sees to it that it is sent, see spread. Nobody can load or commit while it has the lock:
// it is encoded before, and long messages are not copied for each connection.
func (h *hub) announce(a announcement) {
	var frames [256][]byte // by encoding
	for _, e := range h.encodings(a.committer) {
		frames[e] = a.frame(e)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.announced.Store(uint64(a.tid))
	h.readers.wake() // they wait for mu next
	h.missed.add(a.tid, a.sorted)
	for c := range h.conns {
		if c == a.committer {
			continue
		}
		b := frames[c.encoding]
		if b == nil { // it came just now
			b = a.frame(c.encoding)
			frames[c.encoding] = b
		}
		c.out.putShared(b)
	}
	if a.last != nil {
		a.last()
	}
	h.unsent.Store(true)
}

// encodings returns those of all connections but one.
func (h *hub) encodings(but *conn) []wire.Encoding {
	var found []wire.Encoding
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, e := range []wire.Encoding{wire.Pickle, wire.Msgpack} {
		n := h.speak[e]
		if but != nil && but.encoding == e {
			n--
		}
		if n > 0 {
			found = append(found, e)
		}
	}
	return found
}

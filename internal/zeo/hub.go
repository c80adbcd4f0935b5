package zeo

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/zodb"
)

// hub is one storage of the server with all connections that have to be told about its
// transactions. See the rules in the package's description.
type hub struct {
	name     string
	storage  zodb.Storage
	readOnly bool
	full     bool     // of class Full: has history
	blobs    *blobDir // nil: none is shared
	observer Observer
	clock    func() time.Time
	log      *slog.Logger
	onRead   func() // Options.afterRead

	announced  atomic.Uint64 // last tid that was announced; changed under mu
	unsent     atomic.Bool   // something was announced that nobody began to send
	noGC       bool          // StorageOptions.NoGC
	packing    atomic.Bool   // a client's pack runs, or waits for its turn
	blobStates blobStates
	largeOnes  largeOnes
	readers    readers

	mu     sync.RWMutex
	conns  map[*conn]struct{} // guarded by mu: registered
	speak  [256]int           // guarded by mu: how many of conns use an encoding
	missed missed             // guarded by mu

	stats stats
}

// stats are the counters of server_status.
type stats struct {
	loads, stores, commits, aborts, conflicts atomic.Int64
	active, waiting, holding                  atomic.Int64
	lockTime                                  atomic.Int64 // nanoseconds since 1970 when the oldest vote that still holds locks got them
}

// spread sends the announcements, but leaves one connection to the caller. The
// engine commits many transactions together: the first one whose commit has ended
// does it for all of them, with one write for each connection.
func (h *hub) spread(but *conn) {
	if !h.unsent.CompareAndSwap(true, false) {
		return
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	for c := range h.conns {
		if c != but {
			c.out.kick()
		}
	}
}

// join registers a connection: f is called with the last announced tid, and
// everything later is announced to it.
func (h *hub) join(c *conn, f func(last zodb.TID)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = struct{}{}
	h.speak[c.encoding]++
	f(zodb.TID(h.announced.Load()))
}

// leave is called once, when a registered connection has ended.
func (h *hub) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	h.speak[c.encoding]--
}

func (h *hub) connections() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.conns)
}

// withLast calls f with the last announced tid while nothing is announced.
func (h *hub) withLast(f func(last zodb.TID)) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	f(zodb.TID(h.announced.Load()))
}

// fill puts the last transactions of the storage into the queue, so that
// clients that come back after a restart can be told the transactions that they missed.
func (h *hub) fill(ctx context.Context) error {
	last := h.storage.LastTransaction()
	h.announced.Store(uint64(last))
	if !h.full {
		h.missed.add(last, nil)
		return nil
	}
	list, err := h.storage.RecentTransactions(ctx, h.missed.limit)
	switch {
	case err != nil && (ctx.Err() != nil || errors.Is(err, zodb.ErrClosed)):
		return err
	case err != nil: // clients that have seen nothing later drop their caches
		h.log.Error("the storage cannot list the objects that its last transactions changed; clients that were away longer drop their caches", "err", err)
	}
	if h.packsUndo() { // a pack that was interrupted leaves gaps
		packed := h.storage.Status().Packed
		list = slices.DeleteFunc(list, func(t *zodb.Transaction) bool { return !wholeSince(t.TID, packed) })
	}
	if i := slices.IndexFunc(list, histfile.IsAnew); i >= 0 {
		list = list[:i+1]
	}
	if len(list) == 0 || list[0].TID != last { // the last one may have been packed away
		h.missed.add(last, nil)
		return nil
	}
	for i := len(list) - 1; i >= 0; i-- {
		h.missed.add(list[i].TID, sortedOIDs(list[i].OIDs))
	}
	return nil
}

// wholeSince reports whether no pack has removed a transaction later than since: those that
// are not older than the pack time stay. A pack time may be just after a transaction.
func wholeSince(since, packed zodb.TID) bool { return since+1 >= packed }

// missedSince sends an answer about the changes after a transaction: f is called under
// the lock, with known false if they cannot be found, or if the transaction is not one of
// this storage's history: the chain of its transactions does not lead to it, even if its
// file is there.
func (h *hub) missedSince(ctx context.Context, since zodb.TID, maxAge time.Duration, f func(last zodb.TID, oids []zodb.OID, known bool)) error {
	h.mu.RLock()
	oids, known := h.missed.since(since)
	if known || maxAge <= 0 || h.clock().Sub(since.Time()) > maxAge {
		defer h.mu.RUnlock()
		f(zodb.TID(h.announced.Load()), oids, known)
		return nil
	}
	upTo := zodb.TID(h.announced.Load())
	h.mu.RUnlock()

	// From the storage; then, from the queue, the transactions that came meanwhile.
	seen := make(map[zodb.OID]struct{})
	oids = nil
	add := func(list []zodb.OID) {
		for _, oid := range list {
			if _, again := seen[oid]; !again {
				seen[oid] = struct{}{}
				oids = append(oids, oid)
			}
		}
	}
	any, reached, own := false, false, false
	for t, err := range h.storage.TransactionsBackward(ctx, upTo) {
		if t != nil && err != nil {
			h.log.Error("damage in the history of the storage: a client that asked for missed changes is told to drop its cache", "since", since, "err", err)
			break // its writes are unknown
		}
		if err != nil {
			return err
		}
		if reached = t.TID <= since; reached {
			own = t.TID == since
			break
		}
		if histfile.IsAnew(t) {
			break
		}
		any = true
		add(t.OIDs)
	}
	// Looked at after the transactions, because a pack may have removed some meanwhile.
	whole := wholeSince(since, h.storage.Status().Packed) || !h.packsUndo()
	h.mu.RLock()
	defer h.mu.RUnlock()
	rest, known := h.missed.since(upTo)
	add(rest)
	f(zodb.TID(h.announced.Load()), oids, known && any && own && whole)
	return nil
}

package zeo

import (
	"context"

	"github.com/dirstorage/dirstorage/zodb"
)

// sight is a moment before a read, and the one way to an answer that shows a revision as
// the current one: the promises to clients (see the package) are kept here. It is taken
// first; then the storage is read; then show puts the answer into the outbox.
type sight struct {
	h     *hub
	since zodb.TID // the last announced transaction at that moment
}

// sight takes the moment. Later reads may be shown.
func (h *hub) sight() sight { return sight{h, zodb.TID(h.announced.Load())} }

// show calls put, which puts the answer into an outbox, when the revision was announced
// and while nothing is. If a later revision of the object was announced since the moment,
// shown is false: the caller takes another one, and reads again. put does not block and
// takes no lock but that of the outbox.
func (s sight) show(ctx context.Context, oid zodb.OID, r *zodb.Revision, put func() error) (shown bool, err error) {
	h := s.h
	if h.onRead != nil {
		h.onRead()
	}
	h.awaitAnnounced(ctx, r.Serial)
	h.mu.RLock()
	defer h.mu.RUnlock()
	if s.overtaken(oid, r) {
		return false, nil
	}
	return true, put()
}

// overtaken reports whether a later revision than one that was read as the current one was
// announced. hub.mu must be held, shared at least.
func (s sight) overtaken(oid zodb.OID, r *zodb.Revision) bool {
	if r.End != 0 || zodb.TID(s.h.announced.Load()) == s.since {
		return false
	}
	changed, known := s.h.missed.lastChange(oid, s.since)
	return !known || changed > r.Serial
}

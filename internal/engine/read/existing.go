package read

import (
	"context"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// ExistsUnderLock is Exists for a caller that holds the existence lock of the object, so that
// nobody deletes it meanwhile. A positive answer is remembered.
func (r *Reader) ExistsUnderLock(ctx context.Context, oid zodb.OID) (bool, error) {
	if r.existing.has(oid) {
		return true, nil
	}
	found, err := r.Exists(ctx, oid)
	if err == nil && found {
		r.existing.add(oid)
	}
	return found, err
}

// Deleted forgets that an object exists. It is called before the existence lock of a
// deletion is given back, and when a pack has removed the object.
func (r *Reader) Deleted(oid zodb.OID) { r.existing.remove(oid) }

// existing remembers objects that were found to exist. An entry is made
// under the existence lock, and removed before the lock of a deletion is
// given back, so it cannot be stale.
type existing struct {
	mu  sync.Mutex
	set map[zodb.OID]struct{}
}

// maxExisting bounds the memory of existing to a few megabytes.
const maxExisting = 1 << 16

func (e *existing) has(oid zodb.OID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.set[oid]
	return ok
}

func (e *existing) add(oid zodb.OID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.set == nil || len(e.set) >= maxExisting {
		e.set = make(map[zodb.OID]struct{})
	}
	e.set[oid] = struct{}{}
}

func (e *existing) remove(oid zodb.OID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.set, oid)
}

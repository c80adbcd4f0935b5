package state

import (
	"fmt"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// OIDs hands out oids. The zero value begins after 0. All methods may be called concurrently.
type OIDs struct {
	mu      sync.Mutex
	highest zodb.OID // handed out or stored
}

// HandOut returns the n oids after the highest one.
func (o *OIDs) HandOut(n int) ([]zodb.OID, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n < 0 || uint64(n) > uint64(^o.highest) {
		return nil, fmt.Errorf("cannot hand out %d oids after %s", n, o.highest)
	}
	list := make([]zodb.OID, n)
	for i := range list {
		o.highest++
		list[i] = o.highest
	}
	return list, nil
}

// Raise makes sure that an oid that was stored is not handed out later.
func (o *OIDs) Raise(oid zodb.OID) {
	o.mu.Lock()
	o.highest = max(o.highest, oid)
	o.mu.Unlock()
}

// Start sets the highest oid. For the open alone.
func (o *OIDs) Start(highest zodb.OID) {
	o.mu.Lock()
	o.highest = highest
	o.mu.Unlock()
}

// Highest returns the highest oid that was handed out or stored.
func (o *OIDs) Highest() zodb.OID {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.highest
}

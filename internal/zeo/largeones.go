package zeo

import (
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/zodb"
)

// mostLargeOnes is how many objects a storage remembers as large.
const mostLargeOnes = 1 << 12

// largeOnes are the objects whose record had largeBytes, or more, when it was read last, and its length.
// A load of one of them has the memory before it reads. Without that, many loads at once would each read
// a record that is dropped, and all of them together more than the garbage collector keeps up with.
type largeOnes struct {
	some  atomic.Bool // there is one; nearly no storage has any
	mu    sync.Mutex
	sizes map[zodb.OID]int // guarded by mu
	next  int              // guarded by mu: the largest of late, see unknown
	small int              // guarded by mu: reads of others since
}

// smallOnes is how many records in a row that are not large halve the length that is expected of an unknown one.
const smallOnes = 64

// unknown returns the length that the record of an object may have that was not read before: where many different
// large ones are loaded, this is the bound of the memory for all that are read at once.
func (l *largeOnes) unknown() int {
	if !l.some.Load() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// of returns the length of the record of an object; 0: it is not known as large.
func (l *largeOnes) of(oid zodb.OID) int {
	if !l.some.Load() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sizes[oid]
}

// read notes the length of a record.
func (l *largeOnes) read(oid zodb.OID, n int) {
	if n < largeBytes && !l.some.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < largeBytes {
		delete(l.sizes, oid)
		if l.small++; l.small >= smallOnes {
			l.next, l.small = l.next/2, 0
		}
		return
	}
	l.next, l.small = max(l.next, n), 0
	if l.sizes == nil {
		l.sizes = make(map[zodb.OID]int)
	}
	if _, known := l.sizes[oid]; !known && len(l.sizes) >= mostLargeOnes {
		for other := range l.sizes {
			delete(l.sizes, other)
			break
		}
	}
	l.sizes[oid] = n
	l.some.Store(true)
}

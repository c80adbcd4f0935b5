package zeo

import (
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/zodb"
)

// mostLargeOnes is how many objects a storage remembers as large.
const mostLargeOnes = 1 << 12

// largeOnes are the objects whose record had largeBytes, or more, when it was read or stored last, and its length.
// A load of one of them has the memory before it reads. Without that, many loads at once would each read
// a record that is dropped, and all of them together more than the garbage collector keeps up with.
type largeOnes struct {
	none  atomic.Bool // nothing is known as large, nor expected to be: nearly every storage, soon after its start
	mu    sync.Mutex
	sizes map[zodb.OID]int // guarded by mu
	next  int              // guarded by mu: the largest of late, see unknown
	small int              // guarded by mu: reads of others since
}

// smallOnes is how many records in a row that are not large halve the length that is expected of an unknown one.
const smallOnes = 64

// begin sets the length that is expected of the first records: nothing is known of them, and many clients may ask for
// large ones at once.
func (l *largeOnes) begin(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = n
}

// unknown returns the length that the record of an object may have that was not read before: where many different
// large ones are loaded, this is the bound of the memory for all that are read at once.
func (l *largeOnes) unknown() int {
	if l.none.Load() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// of returns the length of the record of an object; 0: it is not known as large.
func (l *largeOnes) of(oid zodb.OID) int {
	if l.none.Load() {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sizes[oid]
}

// stored notes the length of a record that comes, and may be committed.
func (l *largeOnes) stored(oid zodb.OID, n int) {
	if n < largeBytes {
		return // a smaller one is known when it is read
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(oid, n)
}

// read notes the length of the current record of an object, or an older one.
func (l *largeOnes) read(oid zodb.OID, n int) {
	if n < largeBytes && l.none.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n >= largeBytes {
		l.note(oid, n)
	} else {
		delete(l.sizes, oid)
	}
	l.see(n)
}

// saw is read for a record that is not loaded by its object.
func (l *largeOnes) saw(n int) {
	if n < largeBytes && l.none.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.see(n)
}

// see makes the length that is expected follow those that come. mu must be held.
func (l *largeOnes) see(n int) {
	if n >= largeBytes {
		l.next, l.small = max(l.next, n), 0
		l.none.Store(false)
		return
	}
	if l.small++; l.small >= smallOnes {
		l.next, l.small = l.next/2, 0
	}
	if l.next < largeBytes && len(l.sizes) == 0 {
		l.none.Store(true)
	}
}

// note adds an object. mu must be held.
func (l *largeOnes) note(oid zodb.OID, n int) {
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
	l.none.Store(false)
}

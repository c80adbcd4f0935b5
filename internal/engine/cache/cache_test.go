package cache

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestCacheKeepsToItsSizeAndToWhatIsUsed(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	c := New(limit)
	object := func(oid zodb.OID) *record.Object {
		return &record.Object{OID: oid, Serial: 1, Data: make([]byte, 200+oid%100)}
	}
	for oid := range zodb.OID(20_000) {
		c.Put(object(oid), 0)
		for hot := range zodb.OID(100) { // used again and again
			if o := c.Get(hot); oid > hot && (o == nil || o.OID != hot) {
				t.Fatalf("object %s, which is used, was evicted at %s", hot, oid)
			}
		}
		if bytes, _ := c.size(); bytes > limit {
			t.Fatalf("%d bytes", bytes)
		}
	}
	if bytes, n := c.size(); bytes < limit*8/10 || n < 1000 {
		t.Errorf("only %d objects, %d bytes", n, bytes)
	}
	// All of it goes away, in any order.
	gone := make(map[zodb.OID]*record.Object)
	for oid := range zodb.OID(20_000) {
		gone[oid] = nil
	}
	c.Replace(gone, 1)
	if bytes, n := c.size(); bytes != 0 || n != 0 {
		t.Errorf("%d objects, %d bytes are left", n, bytes)
	}
	c.Put(object(1), 0)
	if c.Get(1) != nil {
		t.Error("what was read before a flush was put after it")
	}
	c.Put(object(1), 1)
	c.Put(&record.Object{OID: 2, Data: make([]byte, limit)}, 1)
	if c.Get(1) == nil || c.Get(2) != nil {
		t.Error("the cache does not hold what it should")
	}
	none := New(0)
	none.Put(object(1), 0)
	none.Replace(gone, 1)
	if none.Get(1) != nil {
		t.Error("a cache of no size holds something")
	}
}

// size returns the bytes and the number of all entries.
func (c *Cache) size() (bytes int64, entries int) {
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.RLock()
		bytes += sh.bytes
		entries += len(sh.set)
		sh.mu.RUnlock()
	}
	return bytes, entries
}

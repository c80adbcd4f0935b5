// Package cache keeps current revisions in memory.
package cache

import (
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Cache holds current revisions, as the files have them, bounded by bytes. It
// has nothing of the log: a reader looks into the index over the log first, and into
// the cache only if the index does not have the object.
//
// The invariant: an entry is the newest revision of its object among all that the
// index has forgotten, or one that the index still has. Two things keep it:
//
//   - Before the index forgets transactions, [Cache.Replace] replaces or removes
//     the entries of their objects, and changes the generation of every shard.
//   - A revision that was read from a file is put only if the generation is still the
//     one that was current when the index was looked into, before the file was
//     read. So nothing was forgotten since, and the file is still right.
//
// The state of the storage calls Replace when its index forgets, so that both change as one.
//
// Nothing else changes current revisions: a recombination moves files as they are.
// Code that removes revisions calls ForgetCached of the state.
//
// Entries are shared by all readers, and never change. Eviction is SIEVE: a hand
// goes from the oldest entry to the newest, spares those that were used since it
// passed, and evicts the first that was not; so a scan does not empty the cache.
type Cache struct {
	shards []shard // a power of two; none: there is no cache
}

// shardCount bounds how many readers are in each other's way.
const shardCount = 16

type shard struct {
	mu         sync.RWMutex
	generation uint64              // see Cache
	set        map[zodb.OID]*entry // guarded by mu
	newest     *entry
	oldest     *entry
	hand       *entry // next to be looked at; nil = oldest
	bytes      int64
	limit      int64
}

type entry struct {
	o            *record.Object
	newer, older *entry
	used         atomic.Bool
}

// entryOverhead is about the number of bytes that an entry takes beside its data.
const entryOverhead = 256

func entrySize(o *record.Object) int64 { return int64(len(o.Data)) + entryOverhead }

// New returns a cache of a size in bytes; 0: it never holds anything.
func New(bytes int64) *Cache {
	if bytes <= 0 {
		return &Cache{}
	}
	c := &Cache{shards: make([]shard, shardCount)}
	for i := range c.shards {
		c.shards[i].limit = bytes / shardCount
		c.shards[i].set = make(map[zodb.OID]*entry)
	}
	return c
}

func (c *Cache) shardOf(oid zodb.OID) *shard {
	// Oids are dense, and objects that are used together often lie a power of two apart.
	h := uint64(oid) * 0x9E3779B97F4A7C15
	return &c.shards[h>>32%uint64(len(c.shards))]
}

// Get returns the current revision of an object; nil if it is not here.
func (c *Cache) Get(oid zodb.OID) *record.Object {
	if len(c.shards) == 0 {
		return nil
	}
	sh := c.shardOf(oid)
	sh.mu.RLock()
	e := sh.set[oid]
	sh.mu.RUnlock()
	if e == nil {
		return nil
	}
	if !e.used.Load() {
		e.used.Store(true)
	}
	return e.o
}

// Put adds the contents of a file, if nothing was forgotten since that generation.
func (c *Cache) Put(o *record.Object, generation uint64) {
	if len(c.shards) == 0 {
		return
	}
	sh := c.shardOf(o.OID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.generation == generation {
		sh.replace(o)
	}
}

// Replace puts the newest revisions of some objects into the cache, and removes those that
// are nil. No Put of an earlier generation comes after it.
func (c *Cache) Replace(newest map[zodb.OID]*record.Object, generation uint64) {
	if len(c.shards) == 0 {
		return
	}
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		sh.generation = generation
		sh.mu.Unlock()
	}
	for oid, o := range newest {
		sh := c.shardOf(oid)
		sh.mu.Lock()
		if o != nil {
			sh.replace(o)
		} else if e := sh.set[oid]; e != nil {
			sh.remove(e)
		}
		sh.mu.Unlock()
	}
}

// replace puts an entry in place of the one of the same object. mu must be held.
func (sh *shard) replace(o *record.Object) {
	if e := sh.set[o.OID]; e != nil {
		sh.remove(e)
	}
	size := entrySize(o)
	if size > sh.limit/4 {
		return
	}
	for sh.bytes+size > sh.limit {
		sh.evict()
	}
	e := &entry{o: o, older: sh.newest}
	if sh.newest != nil {
		sh.newest.newer = e
	} else {
		sh.oldest = e
	}
	sh.newest = e
	sh.set[o.OID] = e
	sh.bytes += size
}

// evict removes one entry; there is one. mu must be held.
func (sh *shard) evict() {
	e := sh.hand
	if e == nil {
		e = sh.oldest
	}
	for e.used.Load() {
		e.used.Store(false)
		if e = e.newer; e == nil {
			e = sh.oldest
		}
	}
	sh.hand = e
	sh.remove(e)
}

// remove removes an entry. mu must be held.
func (sh *shard) remove(e *entry) {
	if sh.hand == e {
		sh.hand = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		sh.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		sh.oldest = e.newer
	}
	delete(sh.set, e.o.OID)
	sh.bytes -= entrySize(e.o)
}

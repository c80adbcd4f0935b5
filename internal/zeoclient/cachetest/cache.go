// Package cachetest is a client of ZEO with a cache that finds breaches of the rules that
// make caches coherent.
package cachetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// Cache is a client with a cache that behaves exactly like that of a Python client, and checks that
// the server keeps the rules that make it coherent. It never forgets anything.
//
// For each object it keeps records with the interval of tids in which they
// were current. A record that the server sent as current stays so until an
// invalidation says otherwise; an invalidation of an object that is not in the
// cache is forgotten. Answers and announcements are worked off in the order in
// which they arrived.
type Cache struct {
	*zeoclient.Client
	exact bool

	mu        sync.Mutex
	objects   map[zodb.OID]*cached // guarded by mu
	announced []zodb.TID           // guarded by mu
	broken    []error              // guarded by mu: rules that were not kept
	hits      int64                // guarded by mu
}

// cached is the entry of one object in the cache.
type cached struct {
	current *zodb.Revision  // nil = not known
	old     []zodb.Revision // with End; in no order
	// changed is the last announced change. A client has no such memory: it serves to find faults
	// that a client would miss.
	changed zodb.TID
}

// Dial connects a Cache. exact tells that the server announces an object
// only if it was changed; more can be checked then. o.OnInvalidate is called
// after the cache has worked off an invalidation.
func Dial(ctx context.Context, o zeoclient.Options, exact bool) (*Cache, error) {
	c := &Cache{exact: exact, objects: make(map[zodb.OID]*cached)}
	next := o.OnInvalidate
	o.OnInvalidate = func(tid zodb.TID, oids []zodb.OID) {
		c.invalidate(tid, oids)
		if next != nil {
			next(tid, oids)
		}
	}
	var err error
	if c.Client, err = zeoclient.Dial(ctx, o); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Cache) object(oid zodb.OID) *cached {
	o := c.objects[oid]
	if o == nil {
		o = &cached{}
		c.objects[oid] = o
	}
	return o
}

// invalidate ends the current revisions of the objects.
func (c *Cache) invalidate(tid zodb.TID, oids []zodb.OID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.announced = append(c.announced, tid)
	for _, oid := range oids {
		c.object(oid).end(tid)
	}
}

func (o *cached) end(tid zodb.TID) {
	o.changed = tid
	if o.current == nil || o.current.Serial >= tid {
		return
	}
	o.current.End = tid
	o.old = append(o.old, *o.current)
	o.current = nil
}

// breach notes that a rule was not kept, by its number in the list of rules of
// the protocol: R3 no gaps, R4 no load overtaken by an announcement, R5 announced revisions can be
// read. mu must be held.
func (c *Cache) breach(format string, args ...any) {
	c.broken = append(c.broken, fmt.Errorf(format, args...))
}

// Load reads an object as a client does in a transaction opened at before-1: from the cache if it
// can, else from the server. The data is shared.
func (c *Cache) Load(ctx context.Context, oid zodb.OID, before zodb.TID) (*zodb.Revision, error) {
	c.mu.Lock()
	o := c.object(oid)
	if r := o.find(before); r != nil {
		c.hits++
		c.mu.Unlock()
		return r, nil
	}
	changed := o.changed
	c.mu.Unlock()
	return c.StartLoadBefore(oid, before, func(rev *zodb.Revision, err error) error {
		c.enter(oid, before, changed, rev, err)
		return nil
	}).Wait(ctx)
}

// find returns a copy of the record that was current just before a tid.
func (o *cached) find(before zodb.TID) *zodb.Revision {
	if r := o.current; r != nil && r.Serial < before {
		found := *r
		return &found
	}
	for _, r := range o.old {
		if r.Serial < before && before <= r.End {
			return &r
		}
	}
	return nil
}

// enter keeps the answer to a load, as the reader. changed is the last transaction announced when
// it was asked for.
func (c *Cache) enter(oid zodb.OID, before, changed zodb.TID, rev *zodb.Revision, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.object(oid)
	if rev == nil {
		if err == nil && changed != 0 && changed < before {
			c.breach("R5: object %s was announced at %s, and before %s there is none", oid, changed, before)
		}
		return
	}
	if rev.Serial >= before || rev.End != 0 && (rev.End <= rev.Serial || rev.End < before) {
		c.breach("load of object %s before %s gives the revision current from %s to %s", oid, before, rev.Serial, rev.End)
	}
	if changed < before && rev.Serial < changed && c.exact {
		c.breach("R5: object %s was announced at %s, a later load before %s gives %s", oid, changed, before, rev.Serial)
	}
	if rev.End != 0 {
		if o.find(rev.End) == nil {
			o.old = append(o.old, *rev)
		}
		return
	}
	if rev.Serial < o.changed && c.exact {
		c.breach("R4: object %s was announced at %s, and then sent as current since %s", oid, o.changed, rev.Serial)
	}
	if cur := o.current; cur != nil && cur.Serial != rev.Serial {
		// A revision that was not announced yet may be sent: the announcement finds it there.
		if cur.Serial > rev.Serial || rev.Serial <= c.LastTID() {
			c.breach("R3: object %s is sent as current since %s; known was %s", oid, rev.Serial, cur.Serial)
		}
		if cur.Serial > rev.Serial {
			return
		}
	}
	kept := *rev
	o.current = &kept
}

// Finish finishes a transaction and enters the records it stored; those of resolved objects are
// only ended.
func (c *Cache) Finish(ctx context.Context, t *zeoclient.Txn, stored map[zodb.OID][]byte, resolved []zodb.OID) (zodb.TID, error) {
	return t.Finish(ctx, func(tid zodb.TID) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.announced = append(c.announced, tid)
		for oid, data := range stored {
			o := c.object(oid)
			o.end(tid)
			if !slices.Contains(resolved, oid) && data != nil {
				o.current = &zodb.Revision{Data: data, Serial: tid}
			}
		}
		for _, oid := range resolved {
			c.object(oid).end(tid)
		}
	})
}

// Forget drops the records of an object, as a client does that has met a
// conflict on it.
func (c *Cache) Forget(oid zodb.OID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.object(oid)
	o.current, o.old = nil, nil
}

// Announced returns the transactions that were announced since registration, own
// ones included, in their order. The base is the result of LastTID before any of them.
func (c *Cache) Announced() []zodb.TID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.announced)
}

// Hits is the number of loads that needed no server.
func (c *Cache) Hits() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits
}

// Broken returns the rules that the server did not keep, nil if it kept them.
func (c *Cache) Broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.broken...)
}

// Continuous compares the announced transactions with all that were committed to the storage, in
// their order: each that is later than base and not later than the last one announced must have
// been, once.
func (c *Cache) Continuous(base zodb.TID, committed []zodb.TID) error {
	got := c.Announced()
	if len(got) == 0 {
		return nil
	}
	last := got[len(got)-1]
	var want []zodb.TID
	for _, tid := range committed {
		if tid > base && tid <= last {
			want = append(want, tid)
		}
	}
	if slices.Equal(got, want) {
		return nil
	}
	for i := range max(len(got), len(want)) {
		var g, w zodb.TID
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Errorf("R3: announcement %d is of %s, want %s", i, g, w)
		}
	}
	return nil
}

package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// CensusOptions are those of a [Census]. Clock is mandatory.
type CensusOptions struct {
	Clock func() time.Time
	// DryRun tells the gain of a pack that keeps the history of some days; nil: nobody can say it.
	DryRun func(ctx context.Context, days int) (zodb.PackResult, error)
	// Rest is how long the count rests after each batch of objects, as a multiple of the time that the
	// batch took: so clients find the processors and disks free. Default 0.5.
	Rest float64
	// Failed is told of a bug that ended a count, with the stack; nil: nobody is.
	Failed func(text string)
	// Sleep waits, until the context ends. Default: by a timer.
	Sleep func(context.Context, time.Duration)
}

// Census counts the objects of a storage by class, in the background, and keeps the last result in
// memory. There is one count at a time. Its methods may be called concurrently.
type Census struct {
	s Storage
	o CensusOptions

	ctx  context.Context
	stop context.CancelFunc
	wait sync.WaitGroup

	mu       sync.Mutex
	closed   bool         // guarded by mu
	progress *Progress    // guarded by mu; nil: no count is under way
	last     *CensusCount // guarded by mu; nil: there was none
}

// Progress is how far a count has come.
type Progress struct {
	Begun time.Time
	// Packing: the objects are counted, and the dry run of a pack is under way.
	Packing bool
	Objects int64 // that were looked at
	Total   int64 // about
}

// CensusCount is the result of a count.
type CensusCount struct {
	Begun, Ended time.Time
	TID          zodb.TID // the last transaction when it began
	Objects      int64    // that exist
	Bytes        int64    // of their current records
	// Classes are sorted by bytes, the largest first.
	Classes []ClassCount
	// Other counts the objects of further classes, when there are more than maxClasses.
	Other ClassCount
	// Largest are the objects with the largest current records.
	Largest []LargeObject
	// Gone objects do not exist any more and are not packed away yet. Damaged ones could not be read.
	Gone, Damaged int64
	// Pack tells the gain of a pack that keeps the history of Days days; nil: see NoPack.
	Pack *zodb.PackResult
	Days int
	// NoPack says why that is not known.
	NoPack string
	// Err says why the count ended early; empty: it is complete.
	Err string
}

// ClassCount counts the objects of a class.
type ClassCount struct {
	Class   string
	Objects int64
	Bytes   int64 // of their current records
	Largest zodb.OID
	// LargestBytes is the size of that object's record.
	LargestBytes int64
	// Removed of the objects, with all their revisions, would go with a pack, because nothing refers to
	// them any more.
	Removed      int64
	RemovedBytes int64
}

// LargeObject is an object with a large record.
type LargeObject struct {
	OID   zodb.OID
	Class string
	Bytes int64
}

// Bounds of a count.
const (
	maxClasses   = 5000
	maxLargest   = 20
	censusBatch  = 256
	censusRecord = 16 << 20 // bytes up to which a record is decoded for its class
	noClass      = "(no class)"
)

// NewCensus returns one for a storage. Close ends it.
func NewCensus(s Storage, o CensusOptions) *Census {
	if o.Rest == 0 {
		o.Rest = 0.5
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	c := &Census{s: s, o: o}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Start begins a count, and reports whether it did: not while one is under way, nor after Close. days
// is the history that the pack would keep whose gain is told.
func (c *Census) Start(days int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.progress != nil {
		return false
	}
	c.progress = &Progress{Begun: c.o.Clock(), Total: c.s.Counts().Objects}
	c.wait.Go(func() { c.run(days) })
	return true
}

// Last returns the progress of the count under way, nil if there is none, and the result of the last
// one, nil if there was none. The result does not change.
func (c *Census) Last() (*Progress, *CensusCount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.progress == nil {
		return nil, c.last
	}
	p := *c.progress
	return &p, c.last
}

// Close ends a count under way, and waits for its end.
func (c *Census) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.wait.Wait()
}

func (c *Census) run(days int) {
	count := c.count(days)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.progress = nil
	if c.ctx.Err() == nil { // else nobody asks any more
		c.last = count
	}
}

// count is the result of one count. A bug that it meets is told in it, and does not end the process: a
// page asked for the count.
func (c *Census) count(days int) (count *CensusCount) {
	begun := c.o.Clock()
	defer func() {
		if r := recover(); r != nil {
			text := fmt.Sprintf("bug in the server: panic: %v\n%s", r, debug.Stack())
			count = &CensusCount{Begun: begun, Ended: c.o.Clock(), Days: days, Err: text}
			if c.o.Failed != nil {
				c.o.Failed(text)
			}
		}
	}()
	count, _ = countClasses(c.ctx, c.s, c.o, days, c.update) // its error is in it
	return count
}

// CountClasses counts the objects of a storage by class, and does not rest. show is told how far it
// has come; nil: nobody is. With an error the count is that of the objects until then.
func CountClasses(ctx context.Context, s Storage, o CensusOptions, days int, show func(Progress)) (*CensusCount, error) {
	o.Rest = 0
	p := Progress{Begun: o.Clock(), Total: s.Counts().Objects}
	return countClasses(ctx, s, o, days, func(f func(*Progress)) {
		if f(&p); show != nil {
			show(p)
		}
	})
}

func countClasses(ctx context.Context, s Storage, o CensusOptions, days int, update func(func(*Progress))) (*CensusCount, error) {
	n := &counting{s: s, o: o, update: update, classes: make(map[string]*ClassCount), count: &CensusCount{Begun: o.Clock(), TID: s.LastTransaction(), Days: days}}
	err := n.all(ctx)
	if err == nil {
		update(func(p *Progress) { p.Packing = true })
		n.pack(ctx)
	}
	n.finish(err)
	return n.count, err
}

func (c *Census) update(f func(*Progress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.progress)
}

// counting is one count.
type counting struct {
	s       Storage
	o       CensusOptions
	update  func(func(*Progress))
	count   *CensusCount
	classes map[string]*ClassCount
}

func (n *counting) all(ctx context.Context) error {
	looked := int64(0)
	begun := n.o.Clock()
	for oid, err := range n.s.OIDs(ctx) {
		if err == nil {
			err = n.object(ctx, oid)
		}
		if err != nil {
			return err
		}
		if looked++; looked%censusBatch != 0 {
			continue
		}
		n.update(func(p *Progress) { p.Objects, p.Total = looked, max(p.Total, looked) })
		if took := n.o.Clock().Sub(begun); took > 0 && n.o.Rest > 0 {
			n.o.Sleep(ctx, time.Duration(float64(took)*n.o.Rest))
		}
		begun = n.o.Clock()
	}
	return ctx.Err()
}

func (n *counting) object(ctx context.Context, oid zodb.OID) error {
	rev, err := n.s.Load(ctx, oid)
	switch _, gone := errors.AsType[*zodb.KeyError](err); {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, zodb.ErrClosed):
		return err
	case gone:
		n.count.Gone++
		return nil
	case err != nil:
		n.count.Damaged++
		return nil
	}
	size := int64(len(rev.Data))
	class := noClass
	if size <= censusRecord {
		if module, name, err := pickle.ClassAtOnce(rev.Data); err == nil {
			class = module + "." + name
		}
	}
	n.count.Objects++
	n.count.Bytes += size
	k := n.class(class)
	k.Objects++
	k.Bytes += size
	if size > k.LargestBytes || k.Objects == 1 {
		k.Largest, k.LargestBytes = oid, size
	}
	n.largest(LargeObject{oid, class, size})
	return nil
}

// class returns the count of a class, or that of the others when there are too many.
func (n *counting) class(name string) *ClassCount {
	k := n.classes[name]
	switch {
	case k != nil:
		return k
	case len(n.classes) >= maxClasses:
		return &n.count.Other
	}
	name = strings.Clone(name) // not the record that it may be a part of
	k = &ClassCount{Class: name}
	n.classes[name] = k
	return k
}

func (n *counting) largest(o LargeObject) {
	list := n.count.Largest
	if len(list) == maxLargest && o.Bytes <= list[maxLargest-1].Bytes {
		return
	}
	i, _ := slices.BinarySearchFunc(list, o.Bytes, func(have LargeObject, bytes int64) int {
		return cmp.Compare(bytes, have.Bytes)
	})
	list = slices.Insert(list, i, o)
	n.count.Largest = list[:min(len(list), maxLargest)]
}

// pack asks for the gain of a pack.
func (n *counting) pack(ctx context.Context) {
	dryRun := n.o.DryRun
	if dryRun == nil {
		n.count.NoPack = "this server does not pack the storage"
		return
	}
	result, err := dryRun(ctx, n.count.Days)
	if err != nil {
		n.count.NoPack = err.Error()
		return
	}
	n.count.Pack = &result
	for _, removed := range result.Classes {
		k := n.class(removed.Class)
		k.Removed += removed.Objects
		k.RemovedBytes += removed.Bytes
	}
}

func (n *counting) finish(err error) {
	n.count.Ended = n.o.Clock()
	if err != nil {
		n.count.Err = err.Error()
	}
	for _, k := range n.classes {
		n.count.Classes = append(n.count.Classes, *k)
	}
	slices.SortFunc(n.count.Classes, func(a, b ClassCount) int {
		return cmp.Or(-cmp.Compare(a.Bytes, b.Bytes), -cmp.Compare(a.RemovedBytes, b.RemovedBytes), strings.Compare(a.Class, b.Class))
	})
}

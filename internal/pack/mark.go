package pack

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// Source is where a Marker reads. Its methods are called concurrently. The
// objects that they return may be shared and are not changed.
type Source interface {
	// Current returns the current revision. The error matches ErrNoObject if there is
	// no such object; if its revision is missing, it does not.
	Current(ctx context.Context, oid zodb.OID) (*record.Object, error)
	// Revision returns an older one; the error matches zodb.ErrNotFound if it is not there.
	Revision(ctx context.Context, oid zodb.OID, tid zodb.TID) (*record.Object, error)
}

// ErrNoObject is matched by the error of Source.Current for an object that is not there.
var ErrNoObject = errors.New("no such object")

// MarkOptions for NewMarker. Source, Policy and MemoryLimit are mandatory.
type MarkOptions struct {
	Source Source
	Policy Policy
	// Packed is x.packed: older revisions may be missing.
	Packed zodb.TID
	// References: follow them. Without, only the history of added objects is looked at,
	// and those that were deleted before the threshold are collected, see Deleted.
	References bool
	// SkipBroken keeps objects that cannot be read as they are and goes on.
	SkipBroken bool
	// MemoryLimit in bytes is the limit of each of the six sets of oids.
	MemoryLimit int64
	// Expected, if not nil, reports whether a transaction that is under way writes an
	// object. Such an object may not be there yet, and the caller that knows of it adds
	// its references.
	Expected func(zodb.OID) bool
	// Pending is the number of oids in the work list; those that do not fit are found
	// again by comparing the sets. 0 = DefaultPending.
	Pending int
	// Workers is how many objects are read at a time.
	Workers int
	// Victims is called for an object that stays with its victims, if there are any.
	// Reference, if not nil, is called for each strong reference of a current
	// revision, Broken for each object that was skipped. They may be called concurrently.
	Victims   func(Entry) error
	Reference func(from, to zodb.OID) error
	Broken    func(*zodb.BrokenError)
}

// DefaultPending is how many oids the work list of a Marker holds: 8 MiB of them.
const DefaultPending = 1 << 20

// Marker finds the objects that can be reached. Add may be called at any time and
// concurrently, Keep and Run by one goroutine at a time.
type Marker struct {
	o       MarkOptions
	reached *oidset.Set // has to be looked at, or was
	done    *oidset.Set // was looked at
	deleted *oidset.Set // does not exist any more
	absent  *oidset.Set // it was added, and is not there
	kept    *oidset.Set // Keep was the first to add it
	named   *oidset.Set // of these, Add was called later

	mu       sync.Mutex
	stack    []zodb.OID // guarded by mu; reached and not done, as far as there was room
	overflow bool       // guarded by mu; there are more

	objects, revisions atomic.Int64
	early              atomic.Int64 // of revisions, those before Packed
	blind              atomic.Bool
}

// NewMarker returns a Marker that has reached nothing.
func NewMarker(o MarkOptions) *Marker {
	o.Workers = max(1, o.Workers)
	if o.Pending == 0 {
		o.Pending = DefaultPending
	}
	return &Marker{o: o, reached: oidset.New(o.MemoryLimit), done: oidset.New(o.MemoryLimit), deleted: oidset.New(o.MemoryLimit),
		absent: oidset.New(o.MemoryLimit), kept: oidset.New(o.MemoryLimit), named: oidset.New(o.MemoryLimit)}
}

// Keep marks an object as kept, as [Marker.Add] does, that nothing needs to refer to: a transaction
// wrote it. If it is not there, an earlier pack has removed it, and it is missing only if it
// was also added.
func (m *Marker) Keep(oid zodb.OID) error {
	if m.reached.Has(oid) {
		return nil
	}
	if ok, _ := m.kept.Add(oid); !ok { // first, because an Add may come meanwhile
		return m.full(oid)
	}
	fresh, err := m.add(oid)
	if err != nil || fresh {
		return err
	}
	if ok, _ := m.named.Add(oid); !ok {
		return m.full(oid)
	}
	return nil
}

// Add marks an object as kept that something refers to. It fails if there is no memory for it.
func (m *Marker) Add(oid zodb.OID) error {
	fresh, err := m.add(oid)
	if err != nil || fresh || !m.kept.Has(oid) {
		return err
	}
	if ok, _ := m.named.Add(oid); !ok {
		return m.full(oid)
	}
	return nil
}

// add puts an object into the work list, if it is new.
func (m *Marker) add(oid zodb.OID) (fresh bool, err error) {
	ok, fresh := m.reached.Add(oid)
	if !ok {
		return false, m.full(oid)
	}
	if !fresh {
		return false, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.stack) == m.o.Pending {
		m.overflow = true
		return true, nil
	}
	m.stack = append(m.stack, oid)
	return true, nil
}

// full is the error of an object for which a set has no room. Nothing may be
// removed then, because an object that is not marked counts as garbage.
func (m *Marker) full(oid zodb.OID) error {
	return fmt.Errorf("object %s: a set of the oids in use takes more than the %d bytes that a pack may use for it", oid, m.o.MemoryLimit)
}

// Reached reports whether an object is kept.
func (m *Marker) Reached(oid zodb.OID) bool { return m.reached.Has(oid) }

// Idle reports whether everything that was added has been looked at. It means
// something only while nobody calls Add.
func (m *Marker) Idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.stack) == 0 && !m.overflow
}

// Counts returns how many objects and revisions were kept so far.
func (m *Marker) Counts() (objects, revisions int64) {
	return m.objects.Load(), m.revisions.Load()
}

// Missing returns how many of the absent objects something refers to. It looks at each.
func (m *Marker) Missing() (n int64) {
	for oid := range m.absent.Each() {
		if !m.kept.Has(oid) || m.named.Has(oid) {
			n++
		}
	}
	return n
}

// Early returns how many of the revisions that were kept so far are older than Packed.
func (m *Marker) Early() int64 { return m.early.Load() }

// Blind reports whether there are objects whose references could not be seen, so
// that nothing may be called unreachable.
func (m *Marker) Blind() bool { return m.blind.Load() }

// SetBlind tells that there is such an object.
func (m *Marker) SetBlind() { m.blind.Store(true) }

// Deleted returns, if no references are followed, the objects of which nothing is
// left but that they were deleted, or their creation undone, before the threshold.
func (m *Marker) Deleted() *oidset.Set { return m.deleted }

// Absent returns the objects that were added and were not there when they were looked at. It grows while Run goes on.
func (m *Marker) Absent() *oidset.Set { return m.absent }

// Run looks at everything that was added, and at all that can be reached from
// there, until nothing is left. It returns the first error.
func (m *Marker) Run(ctx context.Context) error {
	for {
		if err := m.drain(ctx); err != nil {
			return err
		}
		m.mu.Lock()
		again := m.overflow
		m.overflow = false
		m.mu.Unlock()
		if !again {
			return nil
		}
		for oid := range m.reached.Without(m.done) {
			m.mu.Lock()
			if len(m.stack) == m.o.Pending {
				m.overflow = true
			} else {
				m.stack = append(m.stack, oid)
			}
			full := m.overflow
			m.mu.Unlock()
			if full {
				break
			}
		}
	}
}

// drain works the list off, with all that comes to it meanwhile.
func (m *Marker) drain(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var busy atomic.Int64
	var wait sync.WaitGroup
	idle := sync.NewCond(&m.mu)
	take := func(batch []zodb.OID) []zodb.OID {
		m.mu.Lock()
		defer m.mu.Unlock()
		for len(m.stack) == 0 && busy.Load() > 0 && ctx.Err() == nil {
			idle.Wait()
		}
		if ctx.Err() != nil {
			return nil
		}
		// A share of it, so that the others get something too.
		n := min(len(m.stack), max(1, min(cap(batch), len(m.stack)/m.o.Workers)))
		batch = append(batch[:0], m.stack[len(m.stack)-n:]...)
		m.stack = m.stack[:len(m.stack)-n]
		if n > 0 {
			busy.Add(1)
		}
		return batch
	}
	release := func() {
		m.mu.Lock()
		busy.Add(-1)
		idle.Broadcast()
		m.mu.Unlock()
	}
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		idle.Broadcast()
		m.mu.Unlock()
	})
	defer stop()
	for range m.o.Workers {
		wait.Go(func() {
			v := visitor{m: m}
			batch := make([]zodb.OID, 0, 64)
			for {
				if batch = take(batch); len(batch) == 0 {
					return
				}
				err := v.visitAll(ctx, batch, func() {
					m.mu.Lock()
					idle.Broadcast()
					m.mu.Unlock()
				})
				release()
				if err != nil {
					cancel(err)
					return
				}
				batch = batch[:0]
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

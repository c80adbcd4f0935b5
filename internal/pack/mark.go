package pack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pickle"
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
	// Packed is x.packed: what is older may be missing.
	Packed zodb.TID
	// References: follow them. Without, only the history of what is added is looked at,
	// and those that were deleted before the threshold are collected, see Deleted.
	References bool
	// SkipBroken keeps objects that cannot be read as they are and goes on.
	SkipBroken bool
	// MemoryLimit is how many bytes each of the four bit sets may take.
	MemoryLimit int64
	// Expected, if not nil, reports whether a transaction that is under way writes an
	// object. Such a one may not be there yet, and what it will refer to is added by
	// whoever knows of it.
	Expected func(zodb.OID) bool
	// Pending is how many oids the work list holds; what does not fit is found again by
	// comparing the sets. 0 = DefaultPending.
	Pending int
	// Workers is how many objects are read at a time.
	Workers int
	// Victims is called for what goes of an object that stays, if there is something.
	// Reference, if not nil, is called for each strong reference of a current
	// revision, Broken for each object that was skipped. They may be called concurrently.
	Victims   func(Entry) error
	Reference func(from, to zodb.OID) error
	Broken    func(*zodb.BrokenError)
}

// DefaultPending is how many oids the work list of a Marker holds: 8 MiB of them.
const DefaultPending = 1 << 20

// Marker finds out what can be reached. Add may be called at any time and
// concurrently, Run by one goroutine at a time.
type Marker struct {
	o       MarkOptions
	reached *oidset.Set // has to be looked at, or was
	done    *oidset.Set // was looked at
	deleted *oidset.Set // does not exist any more
	absent  *oidset.Set // something refers to it, and it is not there

	mu       sync.Mutex
	stack    []zodb.OID // guarded by mu; reached and not done, as far as there was room
	overflow bool       // guarded by mu; there are more

	objects, revisions, missing atomic.Int64
	early                       atomic.Int64 // of revisions, those before Packed
	blind                       atomic.Bool
}

// NewMarker returns a Marker that has reached nothing.
func NewMarker(o MarkOptions) *Marker {
	o.Workers = max(1, o.Workers)
	if o.Pending == 0 {
		o.Pending = DefaultPending
	}
	return &Marker{o: o, reached: oidset.New(o.MemoryLimit), done: oidset.New(o.MemoryLimit), deleted: oidset.New(o.MemoryLimit),
		absent: oidset.New(o.MemoryLimit)}
}

// Add makes an object one that is kept. The error is that there is no memory for it.
func (m *Marker) Add(oid zodb.OID) error {
	ok, fresh := m.reached.Add(oid)
	if !ok {
		return fmt.Errorf("object %s: the oids in use are too far apart for the memory of a pack", oid)
	}
	if !fresh {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.stack) == m.o.Pending {
		m.overflow = true
		return nil
	}
	m.stack = append(m.stack, oid)
	return nil
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

// Counts returns how many objects and revisions were kept so far, and how many
// objects are missing that something refers to.
func (m *Marker) Counts() (objects, revisions, missing int64) {
	return m.objects.Load(), m.revisions.Load(), m.missing.Load()
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

// Absent returns the objects that something refers to and that were not there when
// they were looked at. It grows while Run goes on.
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

// visitor is what one worker owns.
type visitor struct {
	m       *Marker
	scanner pickle.Scanner
	refs    []zodb.OID
	tids    []zodb.TID
}

func (v *visitor) visitAll(ctx context.Context, batch []zodb.OID, added func()) error {
	for _, oid := range batch {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if ok, fresh := v.m.done.Add(oid); !ok || !fresh {
			continue
		}
		if err := v.visit(ctx, oid); err != nil {
			return err
		}
		added()
	}
	return nil
}

// visit looks at one object that stays.
func (v *visitor) visit(ctx context.Context, oid zodb.OID) error {
	m := v.m
	o, err := m.o.Source.Current(ctx, oid)
	if errors.Is(err, ErrNoObject) {
		if m.o.Expected != nil && m.o.Expected(oid) {
			return nil
		}
		// A dangling reference: nothing is there that could refer to anything.
		m.missing.Add(1)
		m.absent.Add(oid) // there is room, as there was in the larger set of what is reached
		return nil
	}
	if err != nil {
		return v.broken(ctx, oid, err)
	}
	if !m.o.References && o.Gone() && o.Serial < m.o.Policy.Threshold {
		if ok, _ := m.deleted.Add(oid); ok {
			return nil
		}
	}
	m.objects.Add(1)
	since, current := m.o.Policy.sinceOf(o), true
	for {
		m.revisions.Add(1)
		if o.Serial < m.o.Packed {
			m.early.Add(1)
		}
		if err := v.follow(o, current); err != nil {
			var b *zodb.BrokenError
			if !errors.As(err, &b) {
				return err
			}
			return v.broken(ctx, oid, b.Err)
		}
		current = false
		switch {
		case o.Previous == 0:
			return nil
		case o.Previous >= o.Serial:
			return v.broken(ctx, oid, fmt.Errorf("revision %s names %s as the one before", o.Serial, o.Previous))
		case !m.o.Policy.keep(o.Serial, o.Previous, since):
			return v.victims(ctx, oid, o.Previous)
		}
		p, err := m.o.Source.Revision(ctx, oid, o.Previous)
		if errors.Is(err, zodb.ErrNotFound) && o.Previous < m.o.Packed {
			return nil
		}
		if err != nil {
			return v.broken(ctx, oid, err)
		}
		o = p
	}
}

// broken says whether the pack goes on without that object.
func (v *visitor) broken(ctx context.Context, oid zodb.OID, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b := &zodb.BrokenError{OID: oid, Err: err}
	if !v.m.o.SkipBroken {
		return b
	}
	v.m.blind.Store(true)
	v.m.o.Broken(b)
	return nil
}

// follow adds what a revision refers to.
func (v *visitor) follow(o *record.Object, current bool) error {
	m := v.m
	if !m.o.References || len(o.Data) == 0 {
		return nil
	}
	var err error
	if v.refs, err = v.scanner.AppendStrongRefs(v.refs[:0], o.Data); err != nil {
		return &zodb.BrokenError{OID: o.OID, Err: fmt.Errorf("revision %s is no pickle that can be read: %w", o.Serial, err)}
	}
	for _, to := range v.refs {
		if err := m.Add(to); err != nil {
			return err
		}
		if current && m.o.Reference != nil {
			if err := m.o.Reference(o.OID, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// entryTIDs is how many revisions the entries have into which a long history is cut.
const entryTIDs = 4096

// victims reports the revisions from one back to the oldest that is there. Where
// one is damaged, it and what is before it are left alone. If one cannot be read for
// another reason all are: it may be readable next time, and then nothing would lead
// from what stays to what is before it.
func (v *visitor) victims(ctx context.Context, oid zodb.OID, tid zodb.TID) error {
	tids, err := Chain(ctx, v.m.o.Source, oid, tid, v.tids[:0])
	v.tids = tids
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && !errors.Is(err, zodb.ErrCorrupt) {
		return nil
	}
	slices.Reverse(tids)
	for part := range slices.Chunk(tids, entryTIDs) {
		if err := v.m.o.Victims(Entry{OID: oid, TIDs: part}); err != nil {
			return err
		}
	}
	return nil
}

// Chain appends the revisions of an object from one back, newest first, as far
// as they are there. The error is about one that cannot be read.
func Chain(ctx context.Context, s Source, oid zodb.OID, tid zodb.TID, dst []zodb.TID) ([]zodb.TID, error) {
	for tid != 0 {
		if err := ctx.Err(); err != nil {
			return dst, err
		}
		o, err := s.Revision(ctx, oid, tid)
		if errors.Is(err, zodb.ErrNotFound) {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		if o.Previous >= tid {
			return dst, fmt.Errorf("object %s: revision %s names %s as the one before: %w", oid, tid, o.Previous, zodb.ErrCorrupt)
		}
		dst = append(dst, tid)
		tid = o.Previous
	}
	return dst, nil
}

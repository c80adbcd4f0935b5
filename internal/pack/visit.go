package pack

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// visitor looks at objects that stay. Each worker of a Marker has its own.
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
		ok, fresh := v.m.done.Add(oid)
		if !ok {
			return v.m.full(oid)
		}
		if !fresh {
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
		// Nothing is there that could refer to anything.
		if ok, _ := m.absent.Add(oid); !ok {
			return m.full(oid)
		}
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

// follow adds the references of a revision.
func (v *visitor) follow(o *record.Object, current bool) error {
	m := v.m
	if !m.o.References || len(o.Data) == 0 {
		return nil
	}
	var err error
	if v.refs, err = v.scanner.AppendStrongRefs(v.refs[:0], o.Data); err != nil {
		return &zodb.BrokenError{OID: o.OID, Err: fmt.Errorf("revision %s is not a readable pickle: %w", o.Serial, err)}
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
// one is damaged, it and its predecessors are left alone. If one cannot be read for
// another reason all are: it may be readable next time, and then nothing would lead from
// the kept revisions to its predecessors.
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

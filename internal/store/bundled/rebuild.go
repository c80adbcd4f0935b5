package bundled

import (
	"context"
	"errors"
	"time"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/current"
)

// progressEvery is how often [Options.Progress] is called.
const progressEvery = 2 * time.Second

// rebuild makes the table anew from the indexes, one bundle after the other, each in order of oid:
// pages that are near to each other stay in memory until they are written once. Its memory does
// not depend on the size of the database. An error is that of [Options.Progress]; after any other
// error there is not a table, and [Options.Warn] is told.
func (s *Store) rebuild(v *view) error {
	s.table, s.rebuilt = nil, true
	t, err := current.Create(s.fs, s.o.Identity)
	if err != nil {
		s.warnOnce(current.Name, noTable, err)
		return nil
	}
	made := newTable(t)
	t.Hold()
	b := &rebuilding{s: s, begun: s.o.Clock()}
	for i := range v.parts {
		b.total += v.parts[i].Revisions
	}
	for i := range v.parts {
		if err = made.putEach(&v.parts[i], made.gone, made.t.Put, b.tell); err != nil {
			break
		}
	}
	if errors.Is(err, current.ErrSparse) {
		err = errors.Join(err, t.Sparse())
	}
	if err == nil {
		err = s.commitTable(made, v)
	}
	if err == nil {
		s.table = made
		return nil
	}
	if b.err == nil && !errors.Is(err, current.ErrSparse) {
		s.warnOnce(current.Name, noTable, err)
	}
	_ = t.Close() // it is made anew by the next open
	return b.err
}

// rebuilding tells how far a table is that is made.
type rebuilding struct {
	s           *Store
	begun       time.Time
	done, total int64
	err         error // of Progress
}

// tell is called after each piece.
func (b *rebuilding) tell(entries int) error {
	b.done += int64(entries)
	if b.s.o.Progress == nil || b.s.o.Clock().Sub(b.begun) < progressEvery {
		return nil
	}
	b.begun = b.s.o.Clock()
	b.err = b.s.o.Progress(b.done, b.total)
	return b.err
}

// putter is [current.Table.Put], or [current.Table.Refresh].
type putter func([]current.Entry) error

// putPart puts all entries of a bundle that are the newest of their objects.
func (t *table) putPart(ctx context.Context, p *part, gone int64, put putter) error {
	return t.putEach(p, gone, put, func(int) error { return ctx.Err() })
}

// putEach is putPart, and calls done after each piece.
func (t *table) putEach(p *part, gone int64, into putter, done func(entries int) error) error {
	at, err := frames(p)
	if err != nil {
		return err
	}
	entries := make([]current.Entry, 0, min(p.Revisions, putAtOnce))
	put := func() error {
		if err := t.put(entries, gone, into); err != nil {
			return err
		}
		err := done(len(entries))
		entries = entries[:0]
		return err
	}
	number := int64(-1)
	for e, err := range p.RevisionsFrom(0) {
		if err != nil {
			return err
		}
		number++
		entry := slotOf(p, e, at[e.Frame], p.gone.Has(number))
		if n := len(entries); n > 0 && entries[n-1].OID == e.OID {
			entries[n-1] = entry // a later one of the same object
			continue
		}
		if len(entries) == putAtOnce {
			if err := put(); err != nil {
				return err
			}
		}
		entries = append(entries, entry)
	}
	return put()
}

// frames returns where the frames of a bundle are.
func frames(p *part) ([]bundle.Frame, error) {
	list := make([]bundle.Frame, 0, p.Frames)
	for f, err := range p.FramesFrom(0) {
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

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
// not depend on the size of the database. After an error nothing of it is left; [current.ErrSparse]
// says that there is no use in one, which is noted on the disk.
func (s *Store) rebuild(ctx context.Context, v *view, progress func(done, total int64) error) (*table, error) {
	t, err := current.Create(s.fs, s.o.Identity)
	if err != nil {
		return nil, err
	}
	made := newTable(t)
	t.Hold()
	b := &rebuilding{ctx: ctx, clock: s.o.Clock, progress: progress, begun: s.o.Clock()}
	for i := range v.parts {
		b.total += v.parts[i].Revisions
	}
	for i := range v.parts {
		if err = made.putEach(&v.parts[i], made.gone, made.t.Put, b.tell); err != nil {
			break
		}
	}
	if err == nil {
		err = made.commit(v)
	}
	if err == nil {
		return made, nil
	}
	if errors.Is(err, current.ErrSparse) && t.Sparse() == nil {
		return nil, errors.Join(err, t.Close())
	}
	_ = t.Close() // none of it is needed
	return nil, errors.Join(err, current.Remove(s.fs))
}

// rebuilding tells how far a table is that is made.
type rebuilding struct {
	ctx         context.Context
	clock       func() time.Time
	progress    func(done, total int64) error // nil: nobody is told
	begun       time.Time
	done, total int64
}

// tell is called after each piece.
func (b *rebuilding) tell(entries int) error {
	b.done += int64(entries)
	if err := b.ctx.Err(); err != nil || b.progress == nil || b.clock().Sub(b.begun) < progressEvery {
		return err
	}
	b.begun = b.clock()
	return b.progress(b.done, b.total)
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

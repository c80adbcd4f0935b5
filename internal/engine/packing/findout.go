package packing

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// How a pack writes down its victims. The plan is made while nothing is touched. It
// becomes valid only when it is whole: from then on it is going to be carried out, after
// a crash as well.

// decide finds the victims and writes the plan. It reports whether there is one.
// If not, or with an error, the plan is the caller's to end.
func (r *packRun) decide(ctx context.Context) (planned bool, err error) {
	s := r.s
	err = s.o.State.WaitFlushed(ctx)
	if err != nil && !(r.o.DryRun && vfs.FaultOf(err) == vfs.FullFault) { // a dry run removes nothing that the log may need
		return false, err
	}
	if r.o.References && !r.o.NoGC && !r.o.DryRun {
		r.index.begin()
	}
	if r.o.DryRun {
		return false, r.findOut(ctx, io.Discard)
	}
	out, err := r.v.files.Begin()
	if err == nil {
		err = r.findOut(ctx, out)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = r.v.establish()
	}
	return err == nil, err
}

// findOut marks, and writes the victims.
func (r *packRun) findOut(ctx context.Context, out io.Writer) error {
	var err error
	if r.header.Oldest, err = r.recent(ctx); err != nil {
		return err
	}
	r.header.Last = r.s.o.State.FlushedTID()
	r.header.Oldest = min(r.header.Oldest, r.header.Last) // one that is in A
	if r.header.Sum, err = r.s.transactionSum(r.header.Last); err != nil {
		return err
	}
	if r.writer, err = pack.NewWriter(out, r.header); err != nil {
		return err
	}
	if err := r.list(ctx); err != nil {
		return err
	}
	if err := r.mark(ctx); err != nil {
		return err
	}
	r.result.KeptObjects, r.result.KeptRevisions = r.marker.Counts()
	r.result.Dangling = r.marker.Missing()
	if err := r.condemned(ctx); err != nil {
		return err
	}
	if err := r.planUnlinked(ctx); err != nil {
		return err
	}
	r.finishClasses()
	return r.writer.Close()
}

// victims adds the entry of an object that stays to the plan: its old revisions that go.
func (r *packRun) victims(e pack.Entry) error {
	var bytes int64
	if r.o.DryRun {
		for _, tid := range e.TIDs {
			n, err := r.s.revisionSize(e.OID, tid)
			if err != nil {
				return err
			}
			bytes += n.Bytes
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.planned.Add(1)
	if r.o.DryRun {
		r.result.Revisions += int64(len(e.TIDs))
		r.result.OldRevisions += int64(len(e.TIDs))
		r.result.OldBytes += bytes
		r.result.Bytes += bytes
	}
	return r.add(e)
}

// add writes an entry into the plan. The caller holds mu.
func (r *packRun) add(e pack.Entry) error {
	for _, tid := range e.TIDs {
		if tid < r.packed {
			r.going++
		}
	}
	return r.writer.Add(e)
}

// condemned writes into the plan the objects that go.
func (r *packRun) condemned(ctx context.Context) error {
	r.p.phase("planning", r.v.condemned.Len())
	r.class = make(map[string]*zodb.PackClass)
	oids := make(chan zodb.OID, 256)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for oid := range oids {
				if ctx.Err() != nil {
					continue
				}
				if err := r.condemnedObject(ctx, oid); err != nil {
					cancel(err)
				}
				r.p.done.Add(1)
			}
		})
	}
	for oid := range r.v.condemned.Each() {
		if ctx.Err() != nil {
			break
		}
		oids <- oid
	}
	close(oids)
	wait.Wait()
	return context.Cause(ctx)
}

// condemnedObject writes one object into the plan. One that cannot be read as a
// whole is left alone: it harms nobody.
func (r *packRun) condemnedObject(ctx context.Context, oid zodb.OID) error {
	s := r.s
	src := patientSource{s.direct, r.p}
	o, err := src.Current(ctx, oid)
	var tids []zodb.TID
	if err == nil {
		if o.Serial >= max(r.policy.Threshold, s.o.Read.Packed()) {
			return nil // it was written meanwhile, and spared
		}
		tids, err = pack.Chain(ctx, src, oid, o.Serial, nil)
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, pack.ErrNoObject) {
			r.broken(&zodb.BrokenError{OID: oid, Err: err})
		}
		return nil
	}
	if len(tids) == 0 {
		return nil
	}
	slices.Reverse(tids)
	var c *zodb.PackClass
	if r.o.DryRun {
		if c, err = r.classOf(o, tids); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.p.planned.Add(1)
	if c != nil {
		r.result.Objects++
		r.result.Revisions += c.Revisions
		r.result.Bytes += c.Bytes
		all := r.class[c.Class]
		if all == nil {
			all = &zodb.PackClass{Class: c.Class}
			r.class[c.Class] = all
		}
		all.Objects++
		all.Revisions += c.Revisions
		all.Bytes += c.Bytes
	}
	return r.add(pack.Entry{OID: oid, Whole: true, TIDs: tids})
}

// classOf returns the part of an object that would go.
func (r *packRun) classOf(o *record.Object, tids []zodb.TID) (*zodb.PackClass, error) {
	c := &zodb.PackClass{Class: "(deleted)", Objects: 1, Revisions: int64(len(tids))}
	if len(o.Data) > 0 {
		c.Class = "(unknown)"
		if module, name, err := pickle.Class(o.Data); err == nil {
			c.Class = module + "." + name
		}
	}
	for _, tid := range tids {
		n, err := r.s.revisionSize(o.OID, tid)
		if err != nil {
			return nil, err
		}
		c.Bytes += n.Bytes
	}
	return c, nil
}

// finishClasses sorts the classes.
func (r *packRun) finishClasses() {
	for _, c := range r.class {
		r.result.Classes = append(r.result.Classes, *c)
	}
	slices.SortFunc(r.result.Classes, func(a, b zodb.PackClass) int {
		if a.Bytes != b.Bytes {
			return int(max(-1, min(1, b.Bytes-a.Bytes)))
		}
		if a.Class < b.Class {
			return -1
		}
		return 1
	})
}

// revisionSize returns the size of a revision and its blob.
func (s *Packer) revisionSize(oid zodb.OID, tid zodb.TID) (n zodb.Counts, err error) {
	if n.Bytes, err = s.o.Store.Stat(layout.Revision(oid, tid)); err != nil {
		return zodb.Counts{}, err
	}
	n.BlobBytes, err = s.o.Store.Stat(layout.Blob(oid, tid))
	if errors.Is(err, fs.ErrNotExist) {
		return zodb.Counts{Bytes: n.Bytes}, nil
	}
	n.Bytes += n.BlobBytes
	return n, err
}

package dirstorage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// PackOptions says what a pack shall do. The zero value packs to min_pack_time
// before now and removes unreachable objects.
type PackOptions struct {
	// Time is to when is packed: what was current then is kept, and all that came
	// later. Zero means now. It is never later than min_pack_time before now, nor
	// than the last transaction.
	Time time.Time `json:"time,omitzero"`
	// NoGC keeps objects that nothing refers to, unless they were deleted before the
	// pack time: an external collector does that.
	NoGC bool `json:"no_gc,omitempty"`
	// DryRun removes nothing.
	DryRun bool `json:"dry_run,omitempty"`
	// SkipBroken goes on if there are objects that cannot be read. All that they
	// could refer to is kept, which means every object.
	SkipBroken bool `json:"skip_broken,omitempty"`
	// References writes misc/refs, the index of who refers to an object, as a
	// by-product. It means nothing with NoGC or DryRun, because then the references
	// are not all read. If it fails, the pack goes on without.
	References bool `json:"references,omitempty"`
}

// PackResult is what a pack has done or, with DryRun, would do.
type PackResult struct {
	Threshold zodb.TID `json:"threshold"` // to when was packed; 0: there was nothing to pack
	// Stamp is in the names of files that were put aside; 0: nothing is put aside.
	Stamp int64 `json:"stamp,omitempty"`
	// Kept objects and revisions are those that were looked at because they stay.
	KeptObjects   int64 `json:"kept_objects"`
	KeptRevisions int64 `json:"kept_revisions"`
	// Of these the next ones are gone now. Transactions are not known of a dry run.
	Objects      int64 `json:"objects"`
	Revisions    int64 `json:"revisions"`
	Transactions int64 `json:"transactions"`
	Blobs        int64 `json:"blobs"`
	Bytes        int64 `json:"bytes"` // of files
	// Dangling objects are those that something refers to and that do not exist.
	Dangling int64 `json:"dangling"`
	// Broken objects were skipped; the first hundred are listed.
	Broken     int64        `json:"broken"`
	BrokenList []PackBroken `json:"broken_list,omitempty"`
	// Purged files were put aside by earlier packs, and are gone for good.
	Purged int64 `json:"purged"`
	// Classes are the unreachable objects by class, largest first; of a dry run only.
	Classes []PackClass `json:"classes,omitempty"`
	// OldRevisions and OldBytes are of objects that stay; of a dry run only.
	OldRevisions int64 `json:"old_revisions,omitempty"`
	OldBytes     int64 `json:"old_bytes,omitempty"`
}

// PackClass is what a pack would remove of one class.
type PackClass struct {
	Class     string `json:"class"`
	Objects   int64  `json:"objects"`
	Revisions int64  `json:"revisions"`
	Bytes     int64  `json:"bytes"`
}

// PackBroken is an object that a pack could not read.
type PackBroken struct {
	OID    zodb.OID `json:"oid"`
	Reason string   `json:"reason"`
}

func (r *PackResult) add(n Counts) {
	r.Objects += n.Objects
	r.Revisions += n.Revisions
	r.Transactions += n.Transactions
	r.Bytes += n.Bytes
}

// PackProgress is how far a pack has come.
type PackProgress struct {
	// Phase is what it does: “waiting for transactions”, “listing”, “marking”,
	// “planning”, “removing objects”, “removing transactions”, “removing deleted
	// files”; empty: there is no pack.
	Phase string    `json:"phase"`
	Since time.Time `json:"since"` // when this phase began
	Begun time.Time `json:"begun"` // when the pack began
	Done  int64     `json:"done"`  // in this phase
	Total int64     `json:"total"` // 0: not known
}

// packs is what a storage keeps about packing.
type packs struct {
	one      chan struct{} // one pack at a time: who has put something in may go
	progress atomic.Pointer[packProgress]
	resumed  sync.WaitGroup
	// Guarded by one:
	failed *sweep // its removing failed, and has to be gone on with
	whyNot error  // why it failed
	newest int64  // the last stamp
}

// packProgress is written by the pack and read by whoever wants to know.
type packProgress struct {
	s       *Storage
	begun   time.Time
	planned atomic.Int64 // entries of the plan
	done    atomic.Int64

	mu    sync.Mutex
	name  string    // guarded by mu
	since time.Time // guarded by mu
	total int64     // guarded by mu
}

func (p *packProgress) phase(name string, total int64) {
	now := p.s.o.Clock()
	p.mu.Lock()
	p.name, p.since, p.total = name, now, total
	p.done.Store(0)
	p.mu.Unlock()
	p.s.log.Info("pack", "phase", name, "total", total)
}

// PackProgress returns how far the pack has come that is under way.
func (s *Storage) PackProgress() PackProgress {
	p := s.packs.progress.Load()
	if p == nil {
		return PackProgress{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return PackProgress{Phase: p.name, Since: p.since, Begun: p.begun, Done: p.done.Load(), Total: p.total}
}

// packLogInterval is how often a pack says in the log how far it has come.
const packLogInterval = 30 * time.Second

// report puts a pack where it can be seen, until stop is called.
func (s *Storage) report() (p *packProgress, stop func()) {
	p = &packProgress{s: s, begun: s.o.Clock()}
	s.packs.progress.Store(p)
	end := make(chan struct{})
	go func() {
		tick := time.NewTicker(packLogInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				g := s.PackProgress()
				s.log.Info("pack", "phase", g.Phase, "done", g.Done, "total", g.Total, "dur", s.o.Clock().Sub(g.Since))
			case <-end:
				return
			}
		}
	}()
	return p, func() {
		close(end)
		s.packs.progress.Store(nil)
	}
}

// Pack removes revisions that nobody needs: those that were replaced before the
// pack time, and all of the objects that cannot be reached from the root object
// nor from anything that was written since. What stays of each other object is the
// revision that was current at the pack time, and all later ones; keepclass adds
// to that. The two newest transactions stay in any case.
//
// Commits, loads and undo go on meanwhile, and so does snapshot mode: the pack
// steps aside. What a transaction begins to refer to while it runs is kept.
//
// When ctx ends the pack stops between two steps and leaves a storage that is as
// good as before; the next pack starts over. After a crash, or a close meanwhile,
// the next open goes on with the removing by itself.
//
// Errors: ErrUnsupported for class Minimal; zodb.ErrReadOnly; *pack.BrokenError if
// an object that stays cannot be read, in which case nothing was removed.
func (s *Storage) Pack(ctx context.Context, o PackOptions) (PackResult, error) {
	if !s.full {
		return PackResult{}, fmt.Errorf("pack: %w: a storage of class Minimal has no history", ErrUnsupported)
	}
	release, err := s.beginMaintenance(ctx)
	if err != nil {
		return PackResult{}, err
	}
	defer release()
	ctx, cancel := s.untilClose(ctx)
	defer cancel()
	p, stop := s.report()
	defer stop()
	run := &packRun{s: s, o: o, p: p}
	run.result.Threshold, err = run.run(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		s.log.Warn("pack ended", "err", err)
		return run.result, fmt.Errorf("pack: %w", err)
	}
	s.log.Info("packed", "tid", run.result.Threshold, "objects", run.result.Objects, "revisions", run.result.Revisions,
		"transactions", run.result.Transactions, "blobs", run.result.Blobs, "bytes", run.result.Bytes, "dur", s.o.Clock().Sub(p.begun))
	return run.result, nil
}

// beginMaintenance waits for its turn, because there is one pack or undelete at a
// time, and goes on with a pack that was interrupted.
func (s *Storage) beginMaintenance(ctx context.Context) (release func(), err error) {
	s.mu.RLock()
	err = s.writable()
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	select {
	case s.packs.one <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	release = func() { <-s.packs.one }
	if err := s.finishFailed(ctx); err != nil {
		release()
		return nil, fmt.Errorf("go on with the last pack: %w", err)
	}
	return release, nil
}

// WaitPack returns when no pack is under way, in particular none that was
// interrupted and that the open goes on with. The error is that of one that could
// not be finished, if not that of ctx.
func (s *Storage) WaitPack(ctx context.Context) error {
	select {
	case s.packs.one <- struct{}{}:
		defer func() { <-s.packs.one }()
		if s.packs.failed != nil {
			return fmt.Errorf("a pack was interrupted: %w", s.packs.whyNot)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// packRun is one pack.
type packRun struct {
	s      *Storage
	o      PackOptions
	p      *packProgress
	policy pack.Policy
	header pack.Header
	v      *verdict
	marker *pack.Marker

	index  *refIndex
	packed zodb.TID // x.packed when it began

	listed    *oidset.Set // objects with a pointer
	revisions *oidset.Set // objects with revisions

	mu     sync.Mutex // guards what is below, while there are many workers
	plan   *pack.Writer
	class  map[string]*PackClass
	result PackResult
}

// errOIDsTooFar is about a storage with oids that are not dense.
var errOIDsTooFar = errors.New("the oids in use are too far apart for the memory of a pack")

// maxBrokenList is how many broken objects are listed.
const maxBrokenList = 100

func (r *packRun) run(ctx context.Context) (threshold zodb.TID, err error) {
	s := r.s
	r.v = &verdict{s: s, gc: !r.o.NoGC, spared: oidset.New(oidsetLimit)}
	r.listed, r.revisions = oidset.New(oidsetLimit), oidset.New(oidsetLimit)
	root := true
	if _, err := (packSource{s}).Current(ctx, 0); errors.Is(err, pack.ErrNoObject) {
		root = false
	}
	if !root && !r.o.NoGC || s.LastTransaction() == 0 {
		return 0, nil // a storage without a root has nothing that could be called unreachable
	}
	if err := r.prepare(ctx); err != nil {
		return 0, err
	}
	r.p.phase("waiting for transactions", 0)
	if err := s.guard.begin(ctx, r.v); err != nil {
		s.guard.end()
		return 0, err
	}
	planned, err := r.decide(ctx)
	defer r.index.abort()
	if err != nil || !planned {
		s.guard.end()
		return r.policy.Threshold, err
	}
	w := &sweep{s: s, v: r.v, h: r.header, p: r.p, result: &r.result}
	if err := r.sweep(ctx, w); err != nil {
		return r.policy.Threshold, err
	}
	r.index.finish(ctx)
	if !r.o.DryRun {
		before := s.o.Clock().Add(-s.settings.Storage.DelayDelete).Unix()
		r.result.Purged, err = s.purge(ctx, before, r.p)
	}
	return r.policy.Threshold, err
}

// sweep removes what was planned. If it is told to stop, the plan is given up,
// because what is left is as good as before; if it cannot go on, it is kept.
func (r *packRun) sweep(ctx context.Context, w *sweep) error {
	err := w.run(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && r.s.closing.Err() == nil {
		return errors.Join(err, r.s.removePlan(r.v))
	}
	if r.s.closing.Err() == nil {
		w.resumed = true
		r.s.packs.failed, r.s.packs.whyNot = w, err
	}
	return err
}

// prepare sets the threshold, and makes the marker.
func (r *packRun) prepare(ctx context.Context) error {
	s := r.s
	r.packed = s.packed()
	r.index = &refIndex{s: s}
	r.v.index = r.index
	now := s.o.Clock()
	at := r.o.Time
	if latest := now.Add(-s.settings.Storage.MinPackTime); at.IsZero() || at.After(latest) {
		at = latest
	}
	threshold := min(zodb.TIDFromTime(at), s.LastTransaction())
	var err error
	if r.policy, err = pack.NewPolicy(threshold, s.settings.KeepClass); err != nil {
		return err
	}
	r.header = pack.Header{Identity: s.identity, Threshold: threshold, Stamp: r.stamp(now),
		Undoable: s.settings.Storage.KeepPolicy == settings.KeepUndoable}
	if s.settings.Storage.DelayDelete != 0 && !r.o.DryRun {
		r.result.Stamp = r.header.Stamp
	}
	r.marker = pack.NewMarker(pack.MarkOptions{
		Source: packSource{s}, Policy: r.policy, Packed: r.packed, References: !r.o.NoGC, SkipBroken: r.o.SkipBroken,
		MemoryLimit: oidsetLimit, Workers: runtime.GOMAXPROCS(0), Victims: r.victims, Broken: r.broken, Reference: r.index.add,
	})
	r.v.marker = r.marker
	return ctx.Err()
}

// stamp is when the pack removes, in seconds. No two packs have the same.
func (r *packRun) stamp(now time.Time) int64 {
	p := &r.s.packs
	p.newest = max(p.newest+1, now.Unix())
	return p.newest
}

// decide finds out what goes and writes the plan. It reports whether there is one.
func (r *packRun) decide(ctx context.Context) (planned bool, err error) {
	s := r.s
	if err := s.Flush(ctx); err != nil {
		return false, err
	}
	if r.o.References && !r.o.NoGC && !r.o.DryRun {
		r.index.begin()
	}
	var file vfs.File
	var out io.Writer = io.Discard
	if !r.o.DryRun {
		if file, err = r.createPlan(); err != nil {
			return false, err
		}
		out = fileWriter{file}
	}
	err = r.findOut(ctx, out)
	if file != nil {
		if err == nil {
			err = r.establish(file)
		}
		err = errors.Join(err, file.Close())
		if err != nil {
			if rerr := s.fs.Remove(planAside); !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}
	return err == nil && file != nil, withDiskFull(err)
}

// createPlan makes the file of the plan, under another name.
func (r *packRun) createPlan() (vfs.File, error) {
	// An interrupted pack may have left one.
	if err := r.s.fs.Remove(planAside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return r.s.fs.Create(planAside)
}

type fileWriter struct{ f vfs.File }

func (w fileWriter) Write(b []byte) (int, error) { return w.f.Write(b) }

// findOut marks, and writes what goes.
func (r *packRun) findOut(ctx context.Context, out io.Writer) error {
	var err error
	if r.header.Oldest, err = r.recent(ctx); err != nil {
		return err
	}
	r.s.mu.RLock()
	r.header.Last = r.s.flushed
	r.s.mu.RUnlock()
	if r.header.Sum, err = r.s.transactionSum(r.header.Last); err != nil {
		return err
	}
	if r.plan, err = pack.NewWriter(out, r.header); err != nil {
		return err
	}
	if err := r.list(ctx); err != nil {
		return err
	}
	if err := r.mark(ctx); err != nil {
		return err
	}
	r.result.KeptObjects, r.result.KeptRevisions, r.result.Dangling = r.marker.Counts()
	if err := r.condemned(ctx); err != nil {
		return err
	}
	if err := r.strays(ctx); err != nil {
		return err
	}
	r.finishClasses()
	return r.plan.Close()
}

// recent marks what the transactions wrote that are not older than the threshold,
// or among the two newest, and returns the oldest of them.
func (r *packRun) recent(ctx context.Context) (oldest zodb.TID, err error) {
	least := 2
	if r.s.settings.Storage.MinPackTime == 0 {
		least = 0
	}
	for t, err := range r.s.TransactionsBackward(ctx, 0) {
		if err != nil {
			return 0, err
		}
		if t.TID < r.policy.Threshold && least <= 0 {
			break
		}
		least--
		oldest = t.TID
		for _, oid := range t.OIDs {
			if err := r.v.mark([]touch{{oid, oid}}); err != nil {
				return 0, err
			}
			if err := r.marker.Add(oid); err != nil {
				return 0, err
			}
		}
	}
	return oldest, nil
}

// list finds out which objects there are.
func (r *packRun) list(ctx context.Context) error {
	r.p.phase("listing", r.s.Counts().Objects)
	for _, side := range []string{"B", "A"} {
		for name, err := range vfs.Walk(r.s.fs, side) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			n, ok := r.s.tree.Format().Parse(name[len(side)+1:])
			if !ok {
				continue
			}
			switch n.Kind {
			case layout.KindPointer:
				r.p.done.Add(1)
				ok, _ = r.listed.Add(n.OID)
			case layout.KindRevision:
				ok, _ = r.revisions.Add(n.OID)
			}
			if !ok {
				return errOIDsTooFar
			}
		}
	}
	return nil
}

// mark runs the marker until the guard says that nothing came meanwhile.
func (r *packRun) mark(ctx context.Context) error {
	total := int64(0)
	for range r.listed.Each() {
		total++
	}
	r.p.phase("marking", total)
	roots := func(yield func(zodb.OID) bool) { yield(0) }
	if r.o.NoGC {
		roots = r.listed.Each()
	}
	for oid := range roots {
		if err := r.marker.Add(oid); err != nil {
			return err
		}
	}
	stop := r.watch()
	defer stop()
	for {
		if err := r.marker.Run(ctx); err != nil {
			return err
		}
		if err := r.lostPointers(ctx); err != nil {
			return err
		}
		done, err := r.s.guard.condemn(r.v, r.listed, r.o.SkipBroken)
		if done || err != nil {
			return err
		}
	}
}

// watch shows how many objects are marked.
func (r *packRun) watch() (stop func()) {
	end := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n, _, _ := r.marker.Counts()
				r.p.done.Store(n)
			case <-end:
				return
			}
		}
	})
	return func() { close(end); wait.Wait() }
}

// strays writes into the plan the revisions of objects that have no pointer: what a
// pack, ours or the original's, left when it was interrupted and could not go on.
// Only what the last pack explains goes.
func (r *packRun) strays(ctx context.Context) error {
	found := false
	for oid := range r.revisions.Without(r.listed) {
		found = found || !r.marker.Reached(oid)
	}
	if !found || r.o.NoGC || r.marker.Blind() {
		return nil
	}
	for name, err := range vfs.Walk(r.s.fs, "A") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		n, ok := r.s.tree.Format().Parse(name[2:])
		if !ok || n.Kind != layout.KindRevision || n.TID >= r.packed || r.listed.Has(n.OID) || r.marker.Reached(n.OID) {
			continue
		}
		if _, err := (packSource{r.s}).Current(ctx, n.OID); !errors.Is(err, pack.ErrNoObject) {
			continue // it has come meanwhile, or it cannot be read
		}
		if err := r.victims(pack.Entry{OID: n.OID, TIDs: []zodb.TID{n.TID}}); err != nil {
			return err
		}
	}
	return nil
}

// lostPointers makes sure that what is referred to and does not exist has no
// revisions: else its pointer was lost, and what it refers to is not known.
func (r *packRun) lostPointers(ctx context.Context) error {
	absent, more := r.marker.Absent()
	for _, oid := range absent {
		if !r.revisions.Has(oid) {
			continue
		}
		if _, err := (packSource{r.s}).Current(ctx, oid); !errors.Is(err, pack.ErrNoObject) {
			continue // it has come meanwhile
		}
		b := &pack.BrokenError{OID: oid, Err: errors.New("it has revisions, and its pointer is missing")}
		if !r.o.SkipBroken {
			return b
		}
		r.broken(b)
		r.marker.SetBlind()
	}
	if more && !r.o.SkipBroken {
		return errors.New("there are too many references to objects that do not exist; run check")
	}
	return nil
}

// victims writes into the plan what goes of an object that stays.
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
	return r.plan.Add(e)
}

// revisionSize returns the size of the files of a revision.
func (s *Storage) revisionSize(oid zodb.OID, tid zodb.TID) (n Counts, err error) {
	info, _, err := s.tree.Stat(layout.Revision(oid, tid))
	if err != nil {
		return n, err
	}
	n.Bytes = info.Size
	info, _, err = s.tree.Stat(layout.Blob(oid, tid))
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	n.Bytes += info.Size
	n.BlobBytes = info.Size
	return n, err
}

func (r *packRun) broken(b *pack.BrokenError) {
	r.s.log.Warn("pack passes over an object", "oid", b.OID, "err", b.Err)
	r.index.skip()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Broken++
	if len(r.result.BrokenList) < maxBrokenList {
		r.result.BrokenList = append(r.result.BrokenList, PackBroken{OID: b.OID, Reason: b.Err.Error()})
	}
}

// condemned writes into the plan the objects that go.
func (r *packRun) condemned(ctx context.Context) error {
	total := int64(0)
	for range r.v.condemned.Each() {
		total++
	}
	r.p.phase("planning", total)
	r.class = make(map[string]*PackClass)
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
	src := packSource{s}
	o, err := src.Current(ctx, oid)
	var tids []zodb.TID
	if err == nil {
		if o.Serial >= max(r.policy.Threshold, s.packed()) {
			return nil // it was written meanwhile, and spared
		}
		tids, err = pack.Chain(ctx, src, oid, o.Serial, nil)
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, pack.ErrNoObject) {
			r.broken(&pack.BrokenError{OID: oid, Err: err})
		}
		return nil
	}
	if len(tids) == 0 {
		return nil
	}
	slices.Reverse(tids)
	var c *PackClass
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
			all = &PackClass{Class: c.Class}
			r.class[c.Class] = all
		}
		all.Objects++
		all.Revisions += c.Revisions
		all.Bytes += c.Bytes
	}
	return r.plan.Add(pack.Entry{OID: oid, Whole: true, TIDs: tids})
}

// classOf returns what would go of an object.
func (r *packRun) classOf(o *record.Object, tids []zodb.TID) (*PackClass, error) {
	c := &PackClass{Class: "(deleted)", Objects: 1, Revisions: int64(len(tids))}
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
	slices.SortFunc(r.result.Classes, func(a, b PackClass) int {
		if a.Bytes != b.Bytes {
			return int(max(-1, min(1, b.Bytes-a.Bytes)))
		}
		if a.Class < b.Class {
			return -1
		}
		return 1
	})
}

// establish makes the plan valid: from here on, it is going to be carried out.
func (r *packRun) establish(file vfs.File) error {
	s := r.s
	if s.settings.Filesystem.Sync {
		if err := file.Sync(); err != nil {
			return err
		}
	}
	if err := s.openSpared(r.v); err != nil {
		return err
	}
	if err := s.fs.Rename(planAside, planFile); err != nil {
		return err
	}
	if s.syncOptions().Dir {
		return s.fs.SyncDir("misc")
	}
	return nil
}

// openSpared makes the file of what is spared, with what was spared while the
// plan was written.
func (s *Storage) openSpared(v *verdict) error {
	if err := s.fs.Remove(sparedFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.fs.Create(sparedFile)
	if err != nil {
		return err
	}
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	v.batch.Lock()
	defer v.batch.Unlock()
	v.file = f
	var oids []zodb.OID
	if v.all.Load() {
		oids = append(oids, everything)
	}
	for oid := range v.spared.Each() {
		if v.condemned.Has(oid) { // the others are not in the plan
			oids = append(oids, oid)
		}
	}
	if len(oids) == 0 {
		return nil
	}
	return v.keep(oids)
}

// packSource reads for a pack, past the cache.
type packSource struct{ s *Storage }

// Current implements pack.Source.
func (p packSource) Current(ctx context.Context, oid zodb.OID) (o *record.Object, err error) {
	err = p.s.settled(ctx, func() error {
		p.s.mu.RLock()
		r, ok := p.s.unflushed.current(oid)
		p.s.mu.RUnlock()
		if ok {
			o, err = p.s.fromLog(r)
		} else {
			o, err = p.s.currentFile(oid)
		}
		return err
	})
	if k, ok := errors.AsType[*zodb.KeyError](err); ok && k.TID == 0 {
		return nil, fmt.Errorf("%w: %s", pack.ErrNoObject, oid)
	}
	return o, err
}

// Revision implements pack.Source.
func (p packSource) Revision(ctx context.Context, oid zodb.OID, tid zodb.TID) (o *record.Object, err error) {
	err = p.s.settled(ctx, func() error {
		p.s.mu.RLock()
		r, ok := p.s.unflushed.revision(oid, tid)
		p.s.mu.RUnlock()
		if ok {
			o, err = p.s.fromLog(r)
		} else {
			o, err = p.s.fromFile(layout.Revision(oid, tid), oid, tid)
		}
		return err
	})
	return o, err
}

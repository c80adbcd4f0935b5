package packing

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func add(r *zodb.PackResult, n zodb.Counts) {
	r.Objects += n.Objects
	r.Revisions += n.Revisions
	r.Transactions += n.Transactions
	r.Bytes += n.Bytes
}

// removed reports whether the pack has removed anything.
func removed(r *zodb.PackResult) bool {
	return r.Objects+r.Revisions+r.Transactions+r.Blobs > 0
}

// Pack removes revisions that nobody needs: those that were replaced before the
// pack time, and all of the objects that cannot be reached from the root object
// nor from anything that was written since. Each other object keeps the revision that was
// current at the pack time, and all later ones; keepclass adds to that. The two newest
// transactions stay in any case, unless min_pack_time is 0.
//
// Commits, loads and undo go on meanwhile, and so does snapshot mode: the pack
// steps aside. An object that a transaction begins to refer to while the pack runs is
// kept.
//
// On a full disk that gets nothing back at once, since delay_delete keeps the removals, a pack is refused:
// the error matches zodb.ErrFreesNothing and ErrDiskFull. With IgnoreSpace it takes the reserve all the same.
//
// If room, descriptors or memory are lacking, the pack waits for a while, and Progress
// says so; the error is ErrDiskFull or ErrScarce if that was in vain.
//
// When ctx ends the pack stops between two steps and leaves a storage that is as
// good as before; the next pack starts over. After a crash, or a close meanwhile,
// the next open goes on with the removing by itself.
//
// Errors: zodb.ErrUnsupported for class Minimal; zodb.ErrReadOnly; *zodb.BrokenError if
// an object that stays cannot be read, in which case nothing was removed.
func (s *Packer) Pack(ctx context.Context, o zodb.PackOptions) (zodb.PackResult, error) {
	if !s.o.Home.Full {
		return zodb.PackResult{}, fmt.Errorf("pack: %w: a storage of class Minimal has no history", zodb.ErrUnsupported)
	}
	release, err := s.beginMaintenance(ctx, func(ctx context.Context) (bool, error) { return s.worthTheReserve(ctx, o) })
	if err != nil {
		return zodb.PackResult{}, err
	}
	defer release()
	ctx, cancel := s.untilClose(ctx)
	defer cancel()
	p, stop := s.report()
	defer stop()
	p.dryRun, p.ignoreSpace = o.DryRun, o.IgnoreSpace
	run, err := s.startPack(ctx, o, p)
	if !o.DryRun && (err == nil || removed(&run.result)) {
		s.afterPack()
	}
	if err != nil {
		err = whyEnded(ctx, err)
		s.o.Log.Warn("pack ended", "err", err)
		return run.result, fmt.Errorf("pack: %w", vfs.WithFull(err))
	}
	if o.DryRun {
		if delay := s.o.Home.Settings.Storage.DelayDelete; delay != 0 && run.result.Bytes > 0 {
			run.result.LaterBytes, run.result.LaterFrom = run.result.Bytes, s.o.Clock().Add(delay).UTC().Truncate(time.Second)
		}
		if space, err := s.o.Store.Space(ctx); err == nil { // else the report does without
			run.result.Removed = space.Removed.Public(space.Inside, s.o.Home.Settings.Storage.DelayDelete)
		}
		s.o.Log.Info("dry run of a pack: nothing was removed", "tid", run.result.Threshold, "objects", run.result.Objects, "old_revisions", run.result.OldRevisions)
		return run.result, nil
	}
	s.o.Log.Info("packed", "tid", run.result.Threshold, "objects", run.result.Objects, "revisions", run.result.Revisions,
		"transactions", run.result.Transactions, "blobs", run.result.Blobs, "bytes", run.result.Bytes, "freed", run.result.FreedBytes, "later", run.result.LaterBytes, "dur", s.o.Clock().Sub(p.begun))
	return run.result, nil
}

// OnPacked has f called whenever a pack has removed something, or has finished: before
// Pack returns, and after an interrupted one was continued. There is one f; it must not
// pack or undelete.
func (s *Packer) OnPacked(f func()) { s.ended.Store(&f) }

// afterPack calls the function of OnPacked.
func (s *Packer) afterPack() {
	if f := s.ended.Load(); f != nil {
		(*f)()
	}
}

// beginMaintenance waits for its turn, because there is one pack or undelete at a
// time, and goes on with a pack that was interrupted.
//
// On a full disk it gives up the reserve, unless worth, which may be nil, says that it is not worth it.
func (s *Packer) beginMaintenance(ctx context.Context, worth func(context.Context) (bool, error)) (release func(), err error) {
	if err := s.o.State.Writable(); err != nil {
		return nil, err
	}
	select {
	case s.turn <- struct{}{}:
	case <-s.o.Closing.Done():
		return nil, zodb.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	release = func() { <-s.turn }
	if err := s.o.Home.Check(); err != nil { // files in misc, too, belong to the holder of the lock
		release()
		return nil, err
	}
	give := true
	if worth != nil {
		looking, cancel := s.untilClose(ctx)
		give, err = worth(looking)
		cancel()
		if err != nil {
			release()
			return nil, err
		}
	}
	if give {
		s.o.Space.MakeRoom(roomForPack)
	}
	// Close waits for the call that has the turn; a later one finds it closed.
	if err = s.o.State.Writable(); err == nil {
		if err = s.finishLeft(ctx); err != nil {
			err = fmt.Errorf("go on with the last pack: %w", err)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// Wait returns when no pack is under way, in particular none that was
// interrupted and that the open goes on with. The error is that of one that could
// not be finished, if not that of ctx; zodb.ErrClosed after Close.
func (s *Packer) Wait(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
		if s.left != nil {
			return fmt.Errorf("a pack was interrupted: %w", s.whyNot)
		}
		return nil
	case <-s.o.Closing.Done():
		return zodb.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// packRun is one pack.
type packRun struct {
	s      *Packer
	o      zodb.PackOptions
	p      *progress
	policy pack.Policy
	header pack.Header
	v      *plan
	marker *pack.Marker

	index  *refIndex
	packed zodb.TID   // x.packed when it began
	wanted zodb.TID   // the pack time, before the last transaction makes it an earlier one
	newest []zodb.TID // transactions before that of which all stays; see markNewest

	listed    *oidset.Set // objects with a pointer
	revisions *oidset.Set // objects with revisions
	judged    *oidset.Set // objects that are not there, and that lostPointers has looked at
	early     int64       // revisions before packed that there are
	// earlyTransactions is the number of transactions before the result of before.
	earlyTransactions int64
	strayBlobs        []strayBlob // blobs in A that have no revision

	mu     sync.Mutex   // guards the fields below, while there are many workers
	writer *pack.Writer // of the plan
	going  int64        // revisions before packed that are in the plan
	class  map[string]*zodb.PackClass
	result zodb.PackResult
}

// errTooManyOIDs is about a storage with oids that are not dense.
var errTooManyOIDs = fmt.Errorf("a set of the oids in use takes more than the %d MiB that a pack may use for it", oidsetLimit>>20)

// maxBrokenList is how many broken objects are listed.
const maxBrokenList = 100

func (r *packRun) run(ctx context.Context) (threshold zodb.TID, err error) {
	s := r.s
	r.v = s.newPlan()
	r.v.gc = !r.o.NoGC
	r.listed, r.revisions, r.judged = oidset.New(oidsetLimit), oidset.New(oidsetLimit), oidset.New(oidsetLimit)
	r.p.phase("waiting for transactions", 0)
	root := true
	if _, err := (patientSource{s.direct, r.p}).Current(ctx, 0); errors.Is(err, pack.ErrNoObject) {
		root = false
	}
	if !root && !r.o.NoGC || s.o.State.LastTID() == 0 {
		return 0, nil // a storage without a root has nothing that could be called unreachable
	}
	if err := r.prepare(ctx); err != nil {
		return 0, err
	}
	w := &sweep{s: s, v: r.v, h: r.header, p: r.p, result: &r.result}
	defer r.index.abort()
	err = s.guard.begin(ctx, r.v)
	planned := false
	if err == nil {
		planned, err = r.decide(ctx)
	}
	if err != nil || !planned {
		return r.policy.Threshold, r.giveUp(w, err)
	}
	w.h = r.header // it is whole now
	w.before, w.early = r.before(), r.earlyTransactions
	freeing := &freeing{s: s}
	freeing.begin(ctx)
	if err := w.again(ctx); err != nil {
		return r.policy.Threshold, r.stop(ctx, w, err)
	}
	freeing.removed(ctx, w)
	r.index.finish(ctx)
	before := s.o.Clock().Add(-s.o.Home.Settings.Storage.DelayDelete).Unix()
	err = r.p.persist(ctx, func() error {
		n, err := s.purge(ctx, before, r.p)
		r.result.Purged += n.Files
		r.result.FreedBytes += n.Bytes
		return err
	})
	if err == nil {
		freeing.end(ctx, &r.result, r.reclaim(ctx))
	}
	return r.policy.Threshold, err
}

// reclaim waits until removals of the pack inside files are free space, if that is short. The
// rest of them become so later.
func (r *packRun) reclaim(ctx context.Context) (gaveBack int64) {
	r.p.givingBack()
	bytes, err := r.s.o.Reclaimer.ReclaimIfShort(ctx)
	if err != nil {
		r.s.o.Log.Warn("the pack is over, and not all that it removed is free space yet; the storage goes on with that", "err", err)
	} else if bytes != 0 {
		r.s.o.Log.Info("the space of removals is free", "bytes", bytes)
	}
	return bytes
}

// giveUp ends a pack that does not go on, because of the error if there is one.
func (r *packRun) giveUp(w *sweep, err error) error {
	r.s.settle()
	err = errors.Join(err, w.v.end())
	w.resumed = true
	r.s.leave(w, err)
	return err
}

// settle makes the removals of a pack that ends early durable, if A is free. Otherwise they become so
// later, or a crash undoes them, and the next pack does them again.
func (s *Packer) settle() {
	if s.o.State.Tendable() != store.A {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	err := s.o.State.RunTask(ctx, func() (bool, error) { return true, s.o.Store.Sync() })
	if err != nil {
		s.o.Log.Warn("removed objects may come back in a crash; the next pack removes them again", "err", err)
	}
}

// settleTime is how long a pack that ends early waits for a free A.
const settleTime = time.Second

// stop decides the next step when the removing came to an end too soon. If it was told to
// stop, the plan is given up, because the storage is as good as before; if it cannot go
// on, or the storage is closed, it stays for the next pack or open.
func (r *packRun) stop(ctx context.Context, w *sweep, err error) error {
	if ctx.Err() != nil && r.s.o.Closing.Err() == nil {
		return r.giveUp(w, err)
	}
	w.resumed = true
	r.s.leave(w, err)
	return err
}

// prepare sets the threshold, and makes the marker.
func (r *packRun) prepare(ctx context.Context) error {
	s := r.s
	r.packed = s.o.Read.Packed()
	r.index = &refIndex{s: s}
	r.v.index = r.index
	now := s.o.Clock()
	last := s.o.State.LastTID()
	if r.exact() {
		last++ // the last transaction may be older than the pack time
	}
	r.wanted = zodb.TIDFromTime(r.packTime(now))
	threshold := min(r.wanted, last)
	var err error
	if r.policy, err = pack.NewPolicy(threshold, s.o.Home.Settings.KeepClass); err != nil {
		return err
	}
	r.header = pack.Header{Identity: s.o.Home.Identity, Threshold: threshold, Stamp: r.stamp(now),
		Undoable: s.o.Home.Settings.Storage.KeepPolicy == settings.KeepUndoable}
	if s.o.Home.Settings.Storage.DelayDelete != 0 && !r.o.DryRun {
		r.result.Stamp = r.header.Stamp
	}
	r.marker = pack.NewMarker(pack.MarkOptions{
		Source: patientSource{s.direct, r.p}, Policy: r.policy, Packed: r.packed, References: !r.o.NoGC, SkipBroken: r.o.SkipBroken,
		MemoryLimit: oidsetLimit, Workers: runtime.GOMAXPROCS(0), Victims: r.victims, Broken: r.broken, Reference: r.index.add,
		Expected: r.v.spared.Has,
	})
	r.v.marker = r.marker
	return ctx.Err()
}

// clockSlack is how far the clock of a client that asks for a pack to “now” may be
// behind.
const clockSlack = time.Minute

// packTime is the time to pack to: no later than min_pack_time ago. Where transactions are
// ahead of the clock, because it was wrong once, a moment that is now or later means the
// newest of them, and min_pack_time counts back from that.
func (r *packRun) packTime(now time.Time) time.Time {
	at, newest := r.o.Time, now
	if last := r.s.o.State.LastTID().Time(); last.Sub(now) > clockSlack {
		newest = last
	}
	latest := newest.Add(-r.s.o.Home.Settings.Storage.MinPackTime)
	meansNow := newest != now && !at.Before(now.Add(-clockSlack)) && !at.After(now.Add(clockSlack))
	if at.IsZero() || at.After(latest) || meansNow {
		return latest
	}
	return at
}

// exact reports whether a pack treats the newest transactions like all others.
func (r *packRun) exact() bool { return r.s.o.Home.Settings.Storage.MinPackTime == 0 }

// stamp is when the pack removes, in seconds. No two packs have the same.
func (r *packRun) stamp(now time.Time) int64 {
	s := r.s
	s.newest = max(s.newest+1, now.Unix())
	return s.newest
}

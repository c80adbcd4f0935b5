package cli

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/refindex"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// candidates returns the objects that may refer to one now: those that the index
// names, and all that were written since. Why not is said if the index is of no use.
func candidates(ctx context.Context, s *engine.Storage, index *refindex.Reader, oid zodb.OID) (set *oidset.Set, why string, err error) {
	set = oidset.New(candidatesMemory())
	const tooMany = "too much is to be looked at"
	for from, err := range index.Referrers(oid) {
		if errors.Is(err, zodb.ErrCorrupt) {
			return nil, err.Error(), nil
		}
		if err != nil {
			return nil, "", err
		}
		if room, _ := set.Add(from); !room {
			return nil, tooMany, nil
		}
	}
	last := s.LastTransaction()
	if last == index.TID() {
		return set, "", nil
	}
	if s.Status().Class == zodb.ClassMinimal {
		return nil, indexFile + " is of an earlier transaction, and a storage of class Minimal does not know the changes since", nil
	}
	// The transactions lead back to that of the index, or it is not of this history.
	for txn, err := range s.TransactionsBackward(ctx, last) {
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		if err != nil {
			return nil, "the changes since " + indexFile + " are not known: " + err.Error(), nil
		}
		if txn.TID <= index.TID() {
			break
		}
		for _, changed := range txn.OIDs {
			if room, _ := set.Add(changed); !room {
				return nil, tooMany, nil
			}
		}
		if txn.Previous == index.TID() {
			return set, "", nil
		}
	}
	return nil, fmt.Sprintf("%s is of transaction %s, which the storage does not have or has packed away", indexFile, index.TID()), nil
}

// write reads every object and writes the index.
func (o *refsCommand) write(ctx context.Context, e *env, home vfs.FS) (err error) {
	s, err := openReader(ctx, e, o.home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	tid := s.LastTransaction()
	w, err := newIndex(home, tid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	begun := e.Now()
	r := &currentReader{e: e, s: s, workers: o.workers, total: s.Counts().Objects}
	var objects atomic.Int64
	err = r.each(ctx, s.OIDs(ctx), func(v *currentRevision) error {
		objects.Add(1)
		refs, err := v.strong()
		for _, to := range refs {
			if err := w.Add(v.oid, to); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	for range r.unseen() {
		w.Skip()
	}
	set := s.Settings()
	stats, err := w.Finish(ctx, vfs.SyncOptions{File: set.Filesystem.Sync, Dir: set.Filesystem.Sync && set.POSIX.DirSync})
	if err != nil {
		return err
	}
	r.report()
	if o.json {
		err = e.printJSON(refsIndexReport{indexWritten{tid, stats}, objects.Load()})
	} else {
		_, err = fmt.Fprintf(e.Stdout, "%s: %s references to %s objects, read from %s objects up to %s, in %s; %s\n", indexFile,
			human.Count(stats.References), human.Count(stats.Targets), human.Count(objects.Load()), formatLast(tid), human.Duration(e.Now().Sub(begun)), human.Bytes(stats.Bytes))
	}
	if err == nil && r.damaged > 0 {
		err = damageMet()
	}
	return err
}

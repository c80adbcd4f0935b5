package cli

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

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
	for i := range r.unseen() {
		w.Skip(i < r.damaged)
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
		_, err = fmt.Fprintf(e.Stdout, "%s: %s to %s, read from %s up to %s, in %s; %s\n", indexFile,
			human.Number(stats.References, "reference"), human.Number(stats.Targets, "object"), human.Number(objects.Load(), "object"), formatLast(tid), human.Duration(e.Now().Sub(begun)), human.Bytes(stats.Bytes))
	}
	if err == nil && r.damaged > 0 {
		err = damageMet()
	}
	return err
}

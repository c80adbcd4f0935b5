package cli

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/zodb"
)

// giveBack is pack --reclaim.
func (o *packCommand) giveBack(ctx context.Context, e *env) error {
	home, err := openHome(o.home)
	if err != nil { // the error is that of the open
		return o.reclaimSpace(ctx, e)
	}
	record := e.record(home, runs.Reclaim)
	err = o.reclaimSpace(ctx, e)
	record.end(runs.Result{}, err)
	return err
}

func (o *packCommand) reclaimSpace(ctx context.Context, e *env) error {
	var r engine.ReclaimResult
	// A storage that is opened for it gives back much by itself, before it is told to.
	running, err := control.Dial(ctx, o.home)
	if err == nil {
		err = running.Close()
	} else if errors.Is(err, control.ErrNotRunning) {
		err = nil
	}
	options := engine.ReclaimOptions{SinceOpen: running == nil}
	if err == nil {
		err = o.maintain(ctx, e, "reclaim", options, &r)
	}
	if err != nil {
		if r.Bytes > 0 || r.Purged > 0 {
			err = errors.Join(err, o.sayGivenBack(e, &r))
		}
		if ctx.Err() != nil {
			return hint(err, "nothing is lost, and the space given back stays free; repeat the command, it goes on")
		}
		return err
	}
	return o.sayGivenBack(e, &r)
}

func (o *packCommand) sayGivenBack(e *env, r *engine.ReclaimResult) error {
	if o.json {
		return e.printJSON(r)
	}
	w := e.printer()
	w.printf("gave back %s\n", human.Bytes(r.Bytes))
	if r.Purged > 0 {
		w.printf("removed for good: %s that packs had put aside\n", human.Number(r.Purged, "file"))
	}
	switch {
	case r.Rewritten > 0:
		w.printf("written again without removed members: %s\n", human.Number(r.Rewritten, "bundle"))
	case !r.InBundles:
		w.printf("there is nothing to write again: in this format each revision is a file of its own\n")
	}
	if r.GoneBytes > 0 {
		w.printf("gone for good, and not given back: %s, in bundles of which something else can be brought back, or that had no room\n", human.Bytes(r.GoneBytes))
	}
	printAside(w, r.Aside)
	return w.err
}

// printAside prints the removals that can still be undeleted, and until when.
func printAside(w *printer, list []zodb.Aside) {
	for _, a := range list {
		w.printf("put aside until %s: %s by pack %d\n", human.FormatTime(a.Until, time.Local), human.Bytes(a.Bytes), a.Stamp)
	}
}

// printReclaimable prints the space that pack --reclaim would give back now, and when the rest follows.
func printReclaimable(e *env, w *printer, r *zodb.Removed) {
	if r == nil {
		return
	}
	now := e.Now()
	if free := r.Free(now); free > 0 {
		w.printf("removed by earlier packs: pack --reclaim gives back up to %s now\n", human.Bytes(free))
	}
	printAside(w, slices.DeleteFunc(slices.Clone(r.Aside), func(a zodb.Aside) bool { return a.Until.Before(now) }))
}

// printLater prints, before a pack, that delay_delete keeps the space of its removals.
func printLater(w *printer, r *zodb.PackResult) {
	if r.LaterBytes > 0 {
		w.printf("of that, nothing would be free space at once: a pack now puts it aside until %s (delay_delete)\n", human.FormatTime(r.LaterFrom, time.Local))
	}
}

// printFreed prints how much of a pack's removals is free space now, and how much later.
func printFreed(w *printer, r *zodb.PackResult) {
	w.printf("freed %s", human.Bytes(r.FreedBytes))
	switch {
	case r.LaterBytes == 0:
	case r.LaterFrom.IsZero():
		w.printf("; %s later, when bundles are written again: in the background, or by pack --reclaim", human.Bytes(r.LaterBytes))
	default:
		w.printf("; %s later: it is put aside until %s", human.Bytes(r.LaterBytes), human.FormatTime(r.LaterFrom, time.Local))
	}
	w.printf("\n")
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/zodb"
)

type packCommand struct {
	home       string
	keep       string
	gc         string
	dryRun     bool
	skipBroken bool
	ignore     bool
	refs       bool
	undelete   string
	reclaim    bool
	json       bool
}

// defaultKeep is how many days of history a pack keeps that is not told otherwise.
const defaultKeep = "1"

func newPack(e *env) *cobra.Command {
	var o packCommand
	c := &cobra.Command{
		Use:         "pack HOME",
		Annotations: interruptible("nothing that is needed was removed, and the storage is sound; the next pack starts over"),
		SuggestFor:  []string{"undelete", "compact", "vacuum"},
		Short:       "Remove old revisions and objects that nothing refers to",
		Long: `Remove the revisions that were replaced before a time, and the objects that can be
reached neither from the root object nor from later revisions. Of each object that
stays, the revision that was current at that time stays, and all later ones. A
running storage packs itself, and serves its clients meanwhile.

With delay_delete in config/settings (10 days in a new storage), removed files are
only renamed at first. A pack after that time removes them for good; until then
--undelete brings them back. SECONDS is the number in the names of such files, and
is printed by the pack. An interrupted pack does no harm: the next one starts over.

In a HOME of the format bundled, removed data take up space until their bundle is
written again, in the background, when half of it is gone. --reclaim does not pack:
it removes files for good that were put aside long enough, and writes every bundle
with such data again. It prints the space given back, and the time of the rest.

On a full disk, while delay_delete is over 0, a pack puts aside what it removes, and only
removals of earlier packs become free space. If there are none that old, it is refused,
with status 1: it would use up the room that is left (misc/reserve) for nothing.

If an object cannot be read, nothing is removed, because its references are not
known. With --skip-broken, every object is kept then, and old revisions go; the exit
status is 3.`,
		Example: "  dirstorage pack --dry-run /srv/zodb\n  dirstorage pack --keep 30 /srv/zodb\n  dirstorage pack --keep 2026-11-01T00:00:00Z --gc=off /srv/zodb\n  dirstorage pack --undelete 1795000000 /srv/zodb\n  dirstorage pack --reclaim /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			for _, alone := range []string{"undelete", "reclaim"} {
				if !c.Flags().Changed(alone) {
					continue
				}
				for _, name := range []string{"keep", "gc", "dry-run", "skip-broken", "ignore-space", "refs", "undelete", "reclaim"} {
					if name != alone && c.Flags().Changed(name) {
						return usage("--%s cannot be combined with any option except --json; leave --%s out", alone, name)
					}
				}
			}
			switch {
			case c.Flags().Changed("undelete"):
				return o.bringBack(c.Context(), e)
			case o.reclaim:
				return o.giveBack(c.Context(), e)
			}
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.keep, "keep", defaultKeep, "keep the history since this `TIME`, or of this many days")
	c.Flags().StringVar(&o.gc, "gc", "on", "on or off: remove objects that nothing refers to")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "list the objects that would go, by class, and change nothing")
	c.Flags().BoolVar(&o.skipBroken, "skip-broken", false, "go on if objects cannot be read, and keep everything that they could refer to")
	c.Flags().BoolVar(&o.ignore, "ignore-space", false, "pack a full disk although nothing would be free at once")
	c.Flags().BoolVar(&o.refs, "refs", false, "also write the index that makes dirstorage refs quick")
	c.Flags().StringVar(&o.undelete, "undelete", "", "bring back the files that the pack of `SECONDS`, or all packs, put aside")
	c.Flags().BoolVar(&o.reclaim, "reclaim", false, "give back now the space of data gone for good")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// options reads the flags.
func (o *packCommand) options(e *env) (zodb.PackOptions, error) {
	p := zodb.PackOptions{DryRun: o.dryRun, SkipBroken: o.skipBroken, IgnoreSpace: o.ignore, References: o.refs}
	switch o.gc {
	case "on":
	case "off":
		p.NoGC = true
		if o.refs {
			return p, usage("--refs cannot be combined with --gc=off, which reads no references; leave one out")
		}
	default:
		return p, usage("--gc %q: want on or off", o.gc)
	}
	if days, err := strconv.ParseFloat(o.keep, 64); err == nil && len(o.keep) != 16 {
		if !(days >= 0 && days < math.MaxInt32) {
			return p, usage("--keep %s: want 0 days or more", o.keep)
		}
		p.Time = e.Now().Add(-time.Duration(days * float64(24*time.Hour)))
		if oldest := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC); days > 36500*2 || p.Time.Before(oldest) {
			p.Time = oldest
		}
		return p, nil
	}
	if o.keep == "" {
		return p, usage("--keep: want a time, a tid, or a number of days")
	}
	tid, err := e.parseTID("--keep", o.keep)
	if err != nil {
		return p, err
	}
	p.Time = tid.Time()
	return p, nil
}

func (o *packCommand) run(ctx context.Context, e *env) error {
	p, err := o.options(e)
	if err != nil {
		return err
	}
	e.warnFuture("--keep", p.Time, "all of the history goes, as with --keep 0")
	home, herr := openHome(o.home)
	if o.dryRun || herr != nil {
		_, err = o.pack(ctx, e, p)
		return err
	}
	record := e.record(home, runs.Pack)
	r, err := o.pack(ctx, e, p)
	record.end(runs.Result{Check: brokenObjects(&r)}, err)
	return err
}

func (o *packCommand) pack(ctx context.Context, e *env, p zodb.PackOptions) (r zodb.PackResult, err error) {
	if err := o.maintain(ctx, e, "pack", p, &r); err != nil {
		if hasRemoved(r) && !o.dryRun {
			err = errors.Join(err, o.say(e, r, "ended while it packed"))
		}
		if ctx.Err() != nil {
			return r, hint(err, "nothing that is needed was removed, and the storage is sound; the next pack starts over")
		}
		if errors.Is(err, zodb.ErrFreesNothing) {
			return r, hint(err, "nothing was changed; delete other files on the disk, then set delay_delete to 0 in config/settings (docs/operation.md, “The way out of a full disk”); --ignore-space packs all the same, and takes %s for it", space.ReserveFile)
		}
		if isBroken(err) && (!errors.Is(err, fs.ErrPermission) || giveBack(pathIn(err)) == "") {
			return r, hint(err, "nothing was removed; dirstorage check %s shows the damage, and with --skip-broken old revisions go all the same", o.home)
		}
		if errors.Is(err, zodb.ErrCorrupt) && !hasRemoved(r) {
			return r, hint(err, "nothing was removed; dirstorage check %s shows the damage", o.home)
		}
		return r, err
	}
	err = o.say(e, r, "packed")
	if err == nil && r.Broken > 0 {
		err = &status{code: exitDamage, err: cannotBeRead(&r, o.home)}
	}
	return r, err
}

// hasRemoved reports whether a pack has removed something.
func hasRemoved(r zodb.PackResult) bool { return r.Objects+r.Revisions+r.Transactions > 0 }

// say prints the result of a pack, after the word for its work.
func (o *packCommand) say(e *env, r zodb.PackResult, did string) error {
	if o.json {
		return e.printJSON(r)
	}
	return o.print(e, r, did)
}

// isBroken reports whether a pack has ended because of an object that cannot be
// read.
func isBroken(err error) bool {
	_, ok := errors.AsType[*zodb.BrokenError](err)
	return ok
}

// maintain has a running storage do something, or opens the one that does not
// run, and shows how far it has come. With an error, result holds the work done until then, as far
// as that is known.
func (o *packCommand) maintain(ctx context.Context, e *env, op string, arguments, result any) error {
	var b []byte
	running, err := control.Dial(ctx, o.home)
	switch {
	case err == nil:
		stop := o.watch(ctx, e, func(ctx context.Context) (zodb.PackProgress, error) { return remoteProgress(ctx, o.home) })
		b, err = running.Maintain(ctx, op, arguments)
		stop()
		if (errors.Is(err, io.EOF) || errors.Is(err, zodb.ErrClosed)) && ctx.Err() == nil {
			err = hint(err, "the process that had the storage open has ended; start it again: the open goes on with a pack that had begun to remove; dirstorage status %s says how far it is", shellWord(o.home))
		}
		err = errors.Join(err, running.Close())
	case errors.Is(err, control.ErrNotRunning):
		b, err = o.here(ctx, e, op, arguments)
	}
	if len(b) > 0 {
		err = errors.Join(err, json.Unmarshal(b, result))
	}
	return err
}

// here does it in this process.
func (o *packCommand) here(ctx context.Context, e *env, op string, arguments any) ([]byte, error) {
	text, err := json.Marshal(arguments)
	if err != nil {
		return nil, err
	}
	s, err := engine.Open(ctx, o.home, engine.Options{Logger: e.logger(), CleanShutdown: true, History: engine.HistoryKept})
	if err != nil {
		return nil, err
	}
	stop := o.watch(ctx, e, func(context.Context) (zodb.PackProgress, error) { return s.PackProgress(), nil })
	b, err := s.Maintenance(ctx, op, text)
	stop()
	return b, errors.Join(err, showFlush(e, s, func() error { return waitForA(ctx, s) }, s.Close))
}

// waitForAAtMost is how long a command that was interrupted waits for an A that may change.
const waitForAAtMost = 5 * time.Second

// waitForA waits until A may change, so that the storage is closed cleanly, also after an
// interruption. A copy that somebody makes of A can keep it for hours: then it is closed
// as it is, which is as sound, and the next open goes on.
func waitForA(ctx context.Context, s *engine.Storage) error {
	if s.Status().Snapshot == "startup" { // nothing was removed, then
		return nil
	}
	if err := s.WaitNormal(ctx); err == nil || ctx.Err() == nil {
		return err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), waitForAAtMost)
	defer cancel()
	if err := s.WaitNormal(limited); limited.Err() == nil {
		return err
	}
	return nil
}

func remoteProgress(ctx context.Context, home string) (zodb.PackProgress, error) {
	var st zodb.Status
	c, err := control.Dial(ctx, home)
	if err != nil {
		return zodb.PackProgress{}, err
	}
	b, err := c.Status(ctx)
	if err = errors.Join(err, c.Close()); err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil || st.Pack == nil {
		return zodb.PackProgress{}, err
	}
	return *st.Pack, nil
}

// watch shows on a terminal how far a pack has come, until stop is called; and prints once, also
// without a terminal, the condition that it waits for.
func (o *packCommand) watch(ctx context.Context, e *env, progress func(context.Context) (zodb.PackProgress, error)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		phase, m, told := "", newMeter(e), false
		defer func() { m.end() }()
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			p, err := progress(ctx)
			if err != nil || p.Phase == "" {
				continue // the pack itself will report the error
			}
			if p.Waiting != "" && !told {
				told = true
				m.end()
				e.warn("the pack waits for " + p.Waiting)
			}
			if !e.Terminal {
				continue
			}
			if p.Phase != phase {
				m.end()
				phase, m = p.Phase, newMeter(e)
			}
			m.update(p.Done, p.Total, func(spent time.Duration) string {
				return fmt.Sprintf("%s: %s, %s", p.Phase, human.Count(p.Done), human.Rate(p.Done, spent))
			})
		}
	}()
	return func() { cancel(); <-ended }
}

func (o *packCommand) print(e *env, r zodb.PackResult, did string) error {
	w := e.printer()
	if r.Threshold == 0 {
		w.printf("%s: there is nothing to pack: it has no transaction, or no root object\n", o.home)
		return w.err
	}
	verb := "removed"
	if o.dryRun {
		verb = "would remove"
	}
	w.printf("%s to %s", did, formatLast(r.Threshold))
	if o.dryRun {
		w.printf(" (dry run, nothing changed)")
	}
	w.printf("\nkept     %s (%s read)\n", human.Number(r.KeptObjects, "object"), human.Number(r.KeptRevisions, "revision"))
	if r.KeptNewest > 0 {
		w.printf("         %s of them only because one of the two newest transactions wrote them\n", human.Count(r.KeptNewest))
	}
	w.printf("%s %s, %s", verb, human.Number(r.Objects, "object"), human.Number(r.Revisions, "revision"))
	if !o.dryRun {
		w.printf(", %s, %s", human.Number(r.Transactions, "transaction"), human.Number(r.Blobs, "blob"))
	}
	w.printf("; %s\n", human.Bytes(r.Bytes))
	if o.dryRun {
		w.printf("         of that, %s with %s of objects that stay\n", human.Number(r.OldRevisions, "old revision"), human.Bytes(r.OldBytes))
		for _, c := range r.Classes {
			w.printf("         %s with %s of class %s\n", human.Number(c.Objects, "object"), human.Bytes(c.Bytes), printable([]byte(c.Class)))
		}
	}
	if r.Dangling > 0 {
		w.printf("%s missing that something refers to; dirstorage check names them\n", human.Plural(r.Dangling, "object is", "objects are"))
	}
	if r.Purged > 0 {
		w.printf("removed for good: %s that earlier packs had put aside\n", human.Number(r.Purged, "file"))
	}
	if o.dryRun {
		printLater(w, &r)
		printReclaimable(e, w, r.Removed)
	} else {
		printFreed(w, &r)
	}
	if r.Stamp != 0 && !o.dryRun && hasRemoved(r) {
		w.printf("to bring the removed files back: dirstorage pack --undelete %d %s\n", r.Stamp, o.home)
	}
	for _, b := range r.BrokenList {
		w.printf("cannot be read: object %s: %s\n", b.OID, printable([]byte(b.Reason)))
	}
	return w.err
}

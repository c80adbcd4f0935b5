package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/salvage"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

type salvageCommand struct {
	dir, home string
	dryRun    bool
	json      bool
}

func newSalvage(e *env) *cobra.Command {
	var o salvageCommand
	c := &cobra.Command{
		Use:         "salvage DIR HOME",
		Annotations: interruptible("copied files stay in their places; run it again, it does the rest"),
		Short:       "Give files that lost their names their place below HOME/A again",
		Long: `Look at each file below DIR (such as lost+found), identify it by its header, and
copy it to its place below HOME/A. A place that is occupied is never touched, and
nothing is taken out of DIR. HOME must not be open and must have been recovered, and
nobody may copy A meanwhile with misc/sublock held. Run check afterwards. The next
backup is a full one then, and convert compares everything again.

A bundle of which nothing can be put back, or only a part, has transactions that no
other file may have. Where HOME lacks them, its line names them, and the status is 3.

Where the pointer of an object is lost, and its newest revision, an older one becomes
current. Its line says so, and the status is 3.

A bundle whose end is lost may have carried the list of its removed members. Where
nothing else knows it, they are there again until the next pack, the last line says
so, and the status is 3.

Files of a newer release, and files that only it can judge, are left in DIR with the
verb newer. The rest is salvaged, and the status is 3.`,
		Example: "  dirstorage salvage --dry-run /srv/lost+found /srv/zodb\n  dirstorage salvage /srv/lost+found /srv/zodb",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.dir, o.home = args[0], args[1]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the plan, change nothing")
	c.Flags().BoolVar(&o.json, "json", false, "one JSON document a line")
	return c
}

func (o *salvageCommand) run(ctx context.Context, e *env) (err error) {
	lost, err := vfs.OS(o.dir)
	if err != nil {
		return err
	}
	home, err := openHome(o.home)
	if err != nil {
		if _, other := openHome(o.dir); other == nil {
			return hint(err, "the storage comes last: dirstorage salvage DIR %s, where DIR has the files that were moved out of it", shellWord(o.dir))
		}
		return err
	}
	lock, err := home.Lock("misc/lock")
	if errors.Is(err, vfs.ErrLocked) {
		return hint(fmt.Errorf("%w: the storage %s is open in another process: %w", zodb.ErrLocked, home.Path("."), err), "salvage wants a storage that nobody has open: end that process, salvage, then start it again")
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if !o.dryRun {
		still, err2 := home.Lock(snapfile.Sublock)
		if errors.Is(err2, vfs.ErrLocked) {
			return hint(fmt.Errorf("%w: somebody needs A of %s to stand still: %w", zodb.ErrLocked, home.Path("."), err2), "a backup or another copy of it is made: salvage when that has ended")
		}
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, still.Close()) }()
	}
	plan, err := salvage.Plan(ctx, lost, home, e.Now())
	if errors.Is(err, salvage.ErrNeedsRecovery) {
		return hint(err, "run dirstorage recover %s", o.home)
	}
	if err != nil {
		return err
	}
	var left leftOut
	damaged := int64(0)
	for _, a := range plan {
		switch {
		case a.Verb == salvage.Newer:
			left.newer++
		case a.Older:
			left.older++
		case a.Missing:
			left.missing++
		case a.Verb == salvage.Damaged && !a.Returned:
			damaged++
		}
		if a.Verb != salvage.Newer && a.Returned {
			left.returned++
		}
		if err := o.print(e, a); err != nil {
			return err
		}
	}
	if damaged > 0 { // which a power cut leaves, too, without a loss
		e.note("warning: left in %s, since nothing of it can be put back: %s; dirstorage check %s tells whether transactions are missing\n", o.dir, human.Number(damaged, "damaged file"), shellWord(o.home))
	}
	if !o.dryRun {
		err = apply(ctx, e, lost, home, plan)
	}
	if err != nil || left == (leftOut{}) {
		return err
	}
	return &status{code: exitDamage, err: o.incomplete(left)}
}

// leftOut counts what a salvage could not do.
type leftOut struct {
	returned int64 // bundles whose removed members may be there again
	newer    int64 // files that a newer release has to judge
	missing  int64 // bundles that are not put back whole
	older    int64 // objects whose newest revision is missing
}

// incomplete is the error of a salvage that has done what it could.
func (o *salvageCommand) incomplete(left leftOut) error {
	var faults []string
	say := func(n int64, format, of string) {
		if n > 0 {
			faults = append(faults, fmt.Sprintf(format, human.Number(n, of)))
		}
	}
	say(left.newer, "left alone: %s that a newer release wrote, or has to judge; transactions are missing, or objects that packs removed are there again", "file")
	say(left.missing, "%s could not be put back, or not whole: transactions are missing; the lines above name them", "bundle")
	say(left.older, "an older revision is current of %s, since the newest one is missing; the lines above name them", "object")
	say(left.returned, "the lists of removed members of %s are lost: objects that packs removed may be there again", "bundle")
	err := errors.New(strings.Join(faults, "; "))
	switch {
	case left.newer > 0:
		return hint(err, "this is dirstorage %s; do not open %s with it, run salvage again with that release, or a later one; the lines with “newer” name the files", buildInfo().Version, o.home)
	case left.missing > 0:
		return hint(err, "if a backup or a copy of %s has such a bundle whole, put that into %s, and move the bundle that was made again of it, if any, out of %s/A/bundles; then run salvage again; dirstorage check %s lists the losses",
			o.home, o.dir, o.home, shellWord(o.home))
	case left.older > 0:
		return hint(err, "if a backup or a copy of %s has the missing revisions, put them into %s, and move the pointers that were made out of %s/A; then run salvage again; dirstorage check %s lists the losses",
			o.home, o.dir, o.home, shellWord(o.home))
	}
	return hint(err, "the next pack removes them; if a backup or a copy of %s has such a bundle or list whole, put that into %s and move the one that was made of it out of %s/A/bundles, then run salvage again", o.home, o.dir, o.home)
}

// apply carries out a plan. Files bear the time of now, or the floor of time stamps if that is later.
func apply(ctx context.Context, e *env, lost, home vfs.FS, plan []salvage.Action) error {
	stamp, err := formats.Floor(home)
	if err != nil {
		return err
	}
	if now := e.Now(); now.After(stamp) {
		stamp = now
	}
	return salvage.Apply(ctx, lost, home, plan, stamp, func(running bool) error {
		if running {
			if err := formats.NoteTime(home, stamp); err != nil {
				return err
			}
		}
		return pack.Undeleted{Running: running, Time: e.Now().UTC()}.Note(home, vfs.SyncOptions{File: true, Dir: true})
	})
}

func (o *salvageCommand) print(e *env, a salvage.Action) error {
	if o.json {
		return e.printLine(a)
	}
	line := string(a.Verb)
	if a.From != "" {
		line += " " + a.From
	}
	if a.To != "" {
		line += " -> " + a.To
	}
	if a.Detail != "" {
		line += ": " + a.Detail
	}
	_, err := fmt.Fprintln(e.Stdout, line)
	return err
}

// openHome returns the directory of a storage, or an error if it is none.
func openHome(home string) (vfs.FS, error) {
	f, err := vfs.OS(home)
	if err != nil {
		return nil, err
	}
	const name = "config/settings"
	if _, err := f.Stat(name); err != nil {
		return nil, settings.NotAHome(f, name, err)
	}
	return f, nil
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

type restoreCommand struct {
	repo, target string
	to           string
	identity     string
	format       string
	delta        bool
	damaged      bool
	dryRun       bool
	ignoreSpace  bool
	json         bool
}

func newRestore(e *env) *cobra.Command {
	var o restoreCommand
	c := &cobra.Command{
		Use:         "restore REPO TARGET",
		Annotations: interruptible("TARGET is as it was; run it again, it goes on where it stopped"),
		Short:       "Make a HOME of backups, as of any transaction",
		Long: `Restore the newest state that is in a repository, or with --to a backup or any
transaction or time between the first and the last backup: objects, blobs and
history. TARGET must not exist, or be an empty directory (a mounted volume). It gets its
name when it is whole, and every file of it was checked; until then it is
TARGET.restoring, or TARGET/.restoring in an empty directory, and a restore that was
interrupted goes on there when it is run again.

Before it begins it compares the room that the backups need with the free bytes and
inodes, and refuses if there is too little; --ignore-space goes on.

With --delta, TARGET is a copy of the same storage, older, newer or damaged, that
nobody has open. Files that are the same are kept, the others come from REPO; then
the new HOME takes the place of the old one at once. So TARGET cannot be a mount
point itself, but a directory below one.

With --format, the HOME is of that format, whatever the backups are of. If they are of
another one, it is made of a HOME of their format, which needs room beside it meanwhile,
and the two are compared. It is a storage of its own then, with another identity: the
first backup of it is a full one.

REPO may also be a directory of the Python original's backup tool.`,
		Example: "  dirstorage restore /backup/zodb /srv/zodb.new\n  dirstorage restore --to \"2026-03-01 10:00\" /backup/zodb /srv/zodb.then\n  dirstorage restore --format bundled /backup/zodb /srv/zodb.new",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			o.repo, o.target = args[0], args[1]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.to, "to", "", "a backup, a `TID`, or a time; default, and now: the newest backup")
	c.Flags().StringVar(&o.identity, "identity", "", "of the storage, if the repository has backups of several")
	c.Flags().StringVar(&o.format, "format", "", "of TARGET: bundled, bushy, chunky, lawn or flat; default that of the backups")
	c.Flags().BoolVar(&o.delta, "delta", false, "bring a TARGET that exists up to date")
	c.Flags().BoolVar(&o.damaged, "accept-damage", false, "keep the result although check finds damage in it")
	c.Flags().BoolVar(&o.ignoreSpace, "ignore-space", false, "begin although the disk seems to have too little space")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "only print the plan")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// plan finds the backups that are needed.
func (o *restoreCommand) plan(e *env, r *backup.Repository) (*backup.Plan, error) {
	if m, err := r.Get(o.to); err == nil {
		return r.Exactly(m)
	} else if !errors.Is(err, backup.ErrNoBackup) {
		return nil, err
	}
	identity, err := chooseIdentity(r, o.identity)
	if err != nil {
		return nil, err
	}
	if o.to == "" || o.to == "now" { // by no clock: the clock of the commits may differ
		return r.Newest(identity)
	}
	tid, err := e.parseTID("--to", o.to)
	if err != nil {
		return nil, err
	}
	return r.At(identity, tid)
}

func (o *restoreCommand) run(ctx context.Context, e *env) error {
	if err := notInside(o.target); err != nil {
		return err
	}
	r, err := openRepository(ctx, o.repo)
	if err != nil {
		return err
	}
	p, err := o.plan(e, r)
	if packed, ok := errors.AsType[*backup.PackedError](err); ok {
		return hint(err, "--to %s is the earliest moment after it; dirstorage backup list %s shows the earlier backups", packed.Packed, o.repo)
	}
	if s, ok := errors.AsType[*status](err); ok && s.code == exitUsage {
		return err
	}
	if _, told := errors.AsType[*hinted](err); err != nil && !told && !errors.Is(err, fs.ErrPermission) { // that is for another user, and the list, too
		err = hint(err, "dirstorage backup list %s", o.repo)
	}
	if err != nil {
		return err
	}
	convert, err := o.convert(e, p)
	if err != nil {
		return err
	}
	if o.dryRun {
		return o.printPlan(e, p)
	}
	parent, name, err := vfs.SplitReal(o.target)
	if err == nil {
		err = vfs.WantDir(parent)
	}
	if err != nil {
		return err
	}
	if err := o.ofOneMount(); err != nil {
		return err
	}
	m := newMeter(e)
	total := int64(0)
	for _, b := range p.Chain {
		total += b.Bytes
	}
	checking := newCheckMeter(e, nil, false)
	options := restore.Options{
		Repository: r, Plan: p, Parent: parent, Name: name, Delta: o.delta, AcceptDamage: o.damaged,
		Format: layout.Format(o.format), Convert: convert, Now: e.Now, Progress: m.showFiles(total), Checking: checking.of("checking"),
	}
	if err := o.enoughRoom(ctx, e, options); err != nil {
		return err
	}
	done, err := restore.Run(ctx, options)
	checking.around(m.end)
	switch {
	case errors.Is(err, restore.ErrRunning):
		err = hint(err, "wait until the other one has ended and look at TARGET, or give another TARGET")
	case errors.Is(err, restore.ErrExists):
		err = hint(err, "give a name that does not exist yet, or an empty directory, or --delta to bring a copy up to date")
	case errors.Is(err, restore.ErrMounted):
		err = hint(err, "restore without --delta to another place and mount that instead, or move the contents of %s away and restore without --delta into the empty directory; a HOME in a directory below the mount point can be restored with --delta", o.target)
	case errors.Is(err, restore.ErrNoCopy):
		err = hint(err, "--delta brings a copy of the same storage up to date; without --delta TARGET may be a name that does not exist yet, or an empty directory")
	case errors.Is(err, restore.ErrOther):
		err = hint(err, "nothing was changed; restore without --delta into a new place")
	case errors.Is(err, restore.ErrBefore):
		err = hint(err, "give a later --to, or none for the newest state")
	case errors.Is(err, restore.ErrDamage):
		way := "--accept-damage restores it as it was"
		if convert != nil {
			way = "without --format, --accept-damage restores it as it was, and dirstorage convert makes a HOME of format " + o.format + " of that"
		}
		err = hint(err, "the storage may have been damaged when it was backed up; %s", way)
	case errors.Is(err, context.Canceled):
		err = hint(err, "run it again, it goes on where it stopped")
	case vfs.SaysFull(err), errors.Is(err, zodb.ErrDiskFull):
		err = hint(err, "%s", fullAdvice(o.target))
	}
	if err != nil {
		return err
	}
	accepted := error(nil)
	if done.Check.Damage > 0 {
		accepted = &status{code: exitDamage, err: hint(fmt.Errorf("%s has damage, which was accepted", o.target), "dirstorage check %s lists it", shellWord(o.target))}
	}
	if o.json {
		return errors.Join(e.printJSON(done), accepted)
	}
	how := "restored"
	if done.Resumed {
		how = "restored, going on from an interrupted restore,"
	}
	damage := "no damage"
	if done.Check.Damage > 0 {
		damage = fmt.Sprintf("%s damaged", human.Count(done.Check.Damage))
	}
	into := ""
	if done.Converted {
		into = fmt.Sprintf(" and converted into format %s", done.Format)
	}
	backups := human.Number(int64(len(done.Backups)), "backup")
	spent := m.spent()
	_, err = fmt.Fprintf(e.Stdout, "%s %s to transaction %s from %s%s: %s, %s unpacked, %s kept; checked: %s, %s; in %s, %s\n",
		how, o.target, formatLast(done.TID), backups, into, human.Number(done.Files, "file"), human.Bytes(done.Bytes), human.Count(done.Linked),
		human.Number(done.Check.Objects, "object"), damage, human.Duration(spent), human.ByteRate(done.Bytes, spent))
	return errors.Join(err, accepted)
}

// ofOneMount refuses a copy whose files cannot be linked into the new one beside it.
func (o *restoreCommand) ofOneMount() error {
	if !o.delta {
		return nil
	}
	f, err := vfs.OS(o.target)
	if err == nil {
		err = vfs.OnOneMount(f, string(store.A))
	}
	if _, spread := errors.AsType[*vfs.SpreadError](err); spread {
		return hint(err, "nothing was changed; restore without --delta into a new place")
	}
	return nil // all else is said where it is opened
}

func (o *restoreCommand) printPlan(e *env, p *backup.Plan) error {
	if o.json {
		return e.printJSON(restorePlan{p.To, p.Cut, p.Bytes(), p.Chain})
	}
	for _, m := range p.Chain {
		fmt.Fprintf(e.Stdout, "%s, up to transaction %s, %s\n", m.Name, formatLast(m.TID), human.Bytes(m.Archive.Bytes))
	}
	part := "all of it"
	if p.Cut {
		part = "of the last one the transactions that are not later"
	}
	into := ""
	if o.format != "" {
		into = ", in format " + o.format
	}
	_, err := fmt.Fprintf(e.Stdout, "would restore %s to transaction %s from these, %s%s; %s to read\n", o.target, formatLast(p.To), part, into, human.Bytes(p.Bytes()))
	return err
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

type verifyCommand struct {
	repo    string
	names   []string
	sample  string
	data    bool
	restore bool
	tmp     string
	json    bool
}

func newBackupVerify(e *env) *cobra.Command {
	var o verifyCommand
	c := &cobra.Command{
		Use:         "verify REPO [BACKUP...]",
		Annotations: interruptible("the backups whose verification was at its end are recorded as verified; run it again, with the names of the others if you like"),
		SuggestFor:  []string{"check"},
		Short:       "Verify that backups are intact",
		Long: `Look at all backups of a repository, or at some. Without an option: manifests,
chains, sizes, and every line of the indexes. --sample reads a part of the data,
--data all of it, and compares it with the SHA-256 of each file and of the archive.
--restore also restores each into a temporary directory and checks every file of
the result. Each outcome is recorded beside the backup, and shown by backup list. A
bad one stays until a verification that reads as much is good. The exit status is
3 if a backup is not good, and 1 if there is none.`,
		Example: "  dirstorage backup verify /backup/zodb\n  dirstorage backup verify --sample 5% /backup/zodb\n  dirstorage backup verify --restore /backup/zodb",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.repo, o.names = args[0], args[1:]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().StringVar(&o.sample, "sample", "", "read at least this `PERCENT` of the bytes of each archive, in whole parts chosen at random")
	c.Flags().BoolVar(&o.data, "data", false, "read all data")
	c.Flags().BoolVar(&o.restore, "restore", false, "restore each backup, and check the result")
	c.Flags().StringVar(&o.tmp, "tmp", "", "the `DIR` in which to restore; default: that of the system")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func (o *verifyCommand) options(e *env) (backup.VerifyOptions, error) {
	v := backup.VerifyOptions{Level: backup.LevelStructure, Now: e.Now, Warn: e.warn, Seed: uint64(e.Now().UnixNano())}
	if o.sample != "" {
		percent, err := strconv.ParseFloat(strings.TrimSuffix(o.sample, "%"), 64)
		if err != nil || !(percent > 0 && percent <= 100) {
			return v, usage("--sample %q: want a percentage, such as 5%%", o.sample)
		}
		v.Level, v.Percent = backup.LevelSample, percent
	}
	if o.data {
		v.Level = backup.LevelData
	}
	if o.restore {
		v.Level = backup.LevelRestore
	}
	return v, nil
}

func (o *verifyCommand) run(ctx context.Context, e *env) error {
	v, err := o.options(e)
	if err != nil {
		return err
	}
	if _, err := openStore(o.repo, false); err != nil {
		return err
	}
	r, err := openRepository(ctx, o.repo)
	f := storeOf(o.repo)
	switch {
	case f == nil: // it is gone since
		return err
	case err == nil && isEmpty(r):
		return noBackups(o.repo, "nothing was verified")
	}
	var list []*backup.Manifest
	if err == nil {
		if list, err = o.chosen(r); err != nil {
			return err // a wrong name says nothing of the backups
		}
		if newer := r.Newer(); newer != nil && len(o.names) == 0 {
			return fmt.Errorf("nothing was verified: %w", newer)
		} else if newer != nil { // nothing else is written there
			return errors.Join(o.verify(ctx, e, r, list, v))
		}
	}
	record := e.recordIn(f, runs.InRepository, runs.Verify, "", commandRecorder{e, o.repo})
	var verdict error
	if err == nil {
		err, verdict = o.verify(ctx, e, r, list, v)
	}
	failed := err
	if _, judged := errors.AsType[*status](verdict); !judged { // else the outcome is recorded beside each backup
		failed = errors.Join(err, verdict)
	}
	record.end(runs.Result{}, failed)
	return errors.Join(err, verdict)
}

// isEmpty reports whether there is nothing in a repository, as on a disk that is not mounted.
func isEmpty(r *backup.Repository) bool { return len(r.Backups)+len(r.Damaged) == 0 }

// noBackups is the error of a job that found nothing to do: its timer must not stay green.
func noBackups(repo, nothing string) error {
	return hint(fmt.Errorf("no backups in %s: %s", repo, nothing), "see that it is the directory, and that its disk is mounted; dirstorage backup run HOME %s makes the first backup", repo)
}

// chosen returns the backups that were named, or all.
func (o *verifyCommand) chosen(r *backup.Repository) ([]*backup.Manifest, error) {
	if len(o.names) == 0 {
		return r.Backups, nil
	}
	var list []*backup.Manifest
	for _, name := range o.names {
		m, err := r.Get(name)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// verify verifies backups and prints the outcomes, also those before an error. The verdict is a *status, or an error of
// the output.
func (o *verifyCommand) verify(ctx context.Context, e *env, r *backup.Repository, list []*backup.Manifest, v backup.VerifyOptions) (err, verdict error) {
	m := newMeter(e)
	total := int64(0)
	for _, b := range list {
		total += b.Bytes
	}
	v.Progress = m.showFiles(total)
	v.Trial = func(ctx context.Context, p *backup.Plan) error { return o.trial(ctx, e, r, p) }
	outcomes, err := r.Verify(ctx, list, v)
	m.end()
	if err != nil && len(outcomes) == 0 {
		return err, nil
	}
	return err, o.print(e, r, v, outcomes)
}

// trial restores into a temporary directory.
func (o *verifyCommand) trial(ctx context.Context, e *env, r *backup.Repository, p *backup.Plan) (err error) {
	dir, remove, err := e.tempDir(o.tmp, "dirstorage-verify-")
	if err != nil {
		return &backup.UntriedError{Err: err}
	}
	defer func() {
		if below := dir + string(filepath.Separator); err != nil && !tellsDamage(err) && (vfs.SaysFull(err) || isLittleRoom(err) || strings.HasPrefix(pathIn(err), below)) {
			err = &backup.UntriedError{Err: hint(err, "no backup is called bad for this; give another directory with --tmp, on a disk with room for a whole HOME, and run it again")}
		}
		if rerr := remove(); rerr != nil { // which says nothing of the backup
			e.warn(fmt.Sprintf("remove %s by hand: %v", dir, rerr))
		}
	}()
	parent, err := vfs.OS(dir)
	if err != nil {
		return err
	}
	m, checking, total := newMeter(e), newCheckMeter(e, nil, false), int64(0)
	for _, b := range p.Chain {
		total += b.Bytes
	}
	options := restore.Options{
		Repository: r, Plan: p, Parent: parent, Name: "home", Now: e.Now,
		Progress: m.showFiles(total), Checking: checking.of("checking"),
	}
	if err := roomToRestore(ctx, options); isLittleRoom(err) {
		return err
	}
	_, err = restore.Run(ctx, options)
	checking.around(m.end)
	return err
}

func (o *verifyCommand) print(e *env, r *backup.Repository, v backup.VerifyOptions, outcomes []backup.Outcome) error {
	bad, unread := 0, 0
	isBad := func(err error) {
		if errors.Is(err, fs.ErrPermission) {
			unread++
		} else {
			bad++
		}
	}
	lines := []verifiedBackup{}
	for _, x := range outcomes {
		l := verifiedBackup{Outcome: x, OK: x.Error == nil}
		if x.Error != nil {
			l.Error = x.Error.Error()
			isBad(x.Error)
		}
		lines = append(lines, l)
	}
	if len(o.names) == 0 {
		for _, name := range slices.Sorted(maps.Keys(r.Damaged)) {
			err := r.Damaged[name]
			lines = append(lines, verifiedBackup{Outcome: backup.Outcome{Name: name, Error: err}, Error: "its manifest can't be used: " + err.Error()})
			isBad(err)
		}
	}
	if o.json {
		if err := e.printJSON(verifyReport{v.Level, lines}); err != nil {
			return err
		}
	} else {
		for _, l := range lines {
			if !l.OK && errors.Is(l.Outcome.Error, fs.ErrPermission) {
				fmt.Fprintf(e.Stdout, "%s cannot be verified: %s\n", l.Name, l.Error)
			} else if !l.OK {
				fmt.Fprintf(e.Stdout, "%s is not good: %s\n", l.Name, l.Error)
			} else if _, err := fmt.Fprintf(e.Stdout, "%s is good (%s, %s of data read)\n", l.Name, v.Level, human.Bytes(l.Bytes)); err != nil {
				return err
			}
		}
	}
	of := human.Number(int64(len(lines)), "backup")
	switch {
	case bad > 0:
		return &status{code: exitDamage, err: hint(fmt.Errorf("not good: %d of %s", bad, of),
			"make a full backup now; keep the others, parts of them may be needed; backup prune removes a bad one with its chain, and one without a usable manifest is moved away by hand")}
	case unread > 0:
		return hint(fmt.Errorf("this user may not read %d of %s", unread, of), "%s", noRight(given{as: "REPO"}, o.repo))
	}
	return nil
}

type pruneCommand struct {
	chains int
	age    string
	broken bool
	dryRun bool
	json   bool
}

func newBackupPrune(e *env) *cobra.Command {
	var o pruneCommand
	c := &cobra.Command{
		Use:         "prune REPO",
		Annotations: interruptible("only backups that no rule keeps were removed; run it again, it removes the rest"),
		SuggestFor:  []string{"expire", "forget", "delete", "remove"},
		Short:       "Remove old backups",
		Long: `Remove whole chains: a full backup and all that build upon it. A chain is kept if
one of the rules keeps it: --keep-chains the newest ones, --keep-since those needed
to restore any moment since then. The newest chain of a storage is always kept, and
that of the newest backup that is not known as bad; --keep-since also keeps that of
the newest such one before then. The exit status is 1 if there is no backup, as on a
disk that is not mounted.`,
		Example: "  dirstorage backup prune --keep-chains 4 --keep-since \"30 days ago\" --dry-run /backup/zodb",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return o.run(c.Context(), e, args[0]) },
	}
	c.Flags().IntVar(&o.chains, "keep-chains", 0, "keep the `N` newest chains of each storage")
	c.Flags().StringVar(&o.age, "keep-since", "", "keep the backups needed to restore any moment since this `TIME`")
	c.Flags().BoolVar(&o.broken, "broken", false, "also remove backups that can't be restored, because a backup that they build upon is missing")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "only list the backups that would be removed")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func (o *pruneCommand) run(ctx context.Context, e *env, dir string) error {
	p := backup.PruneOptions{Chains: o.chains, Broken: o.broken, DryRun: o.dryRun}
	if o.chains < 0 || o.chains == 0 && o.age == "" {
		return usage("no rule says which backups to keep; give --keep-chains N, --keep-since TIME, or both")
	}
	if o.age != "" {
		var err error
		if p.Since, err = e.parseTime("--keep-since", o.age); err != nil {
			return err
		}
		e.warnFuture("--keep-since", p.Since, "it keeps no more than the newest chain")
	}
	r, err := openRepository(ctx, dir)
	if err != nil {
		return err
	}
	if err := r.Newer(); err != nil { // before anything changes
		return fmt.Errorf("nothing was removed: %w", err)
	}
	if isEmpty(r) {
		return noBackups(dir, "nothing was pruned")
	}
	done, err := backup.Prune(ctx, r.Store, p)
	if err != nil {
		return err
	}
	if o.json {
		return e.printJSON(done)
	}
	verb := "removed"
	if o.dryRun {
		verb = "would remove"
	}
	for _, m := range done.Removed {
		fmt.Fprintf(e.Stdout, "%s %s (%s)\n", verb, m.Name, human.Bytes(m.Archive.Bytes+m.Index.Bytes))
	}
	_, err = fmt.Fprintf(e.Stdout, "%s %s, %s; kept: %s\n", verb, human.Number(int64(len(done.Removed)), "backup"), human.Bytes(done.Bytes), human.Number(int64(len(done.Kept)), "backup"))
	return err
}

func newBackupMerge(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:         "merge REPO [BACKUP]",
		Annotations: interruptible("no backup was made, and none is changed; run it again, it begins anew"),
		Short:       "Make a full backup of a full one and its incremental ones",
		Long: `Make a new full backup of the chain that ends with BACKUP (default: the newest one),
from the backups alone: the storage is not touched. The members stay until prune
removes them.`,
		Example: "  dirstorage backup merge /backup/zodb",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return mergeBackups(c.Context(), e, args, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the manifest of the new backup")
	return c
}

func mergeBackups(ctx context.Context, e *env, args []string, asJSON bool) error {
	store, err := openStore(args[0], false)
	if err != nil {
		return err
	}
	r, err := backup.Open(ctx, store)
	if err != nil {
		return err
	}
	o := backup.MergeOptions{Now: e.Now}
	if len(args) > 1 {
		o.Name = args[1]
	} else {
		p, err := newest(r, "")
		if err != nil {
			return err
		}
		o.Name = p.Chain[len(p.Chain)-1].Name
	}
	m := newMeter(e)
	o.Progress = m.showFiles(0)
	done, err := backup.Merge(ctx, store, o)
	m.end()
	if err != nil {
		return err
	}
	if asJSON {
		return e.printJSON(done)
	}
	_, err = fmt.Fprintf(e.Stdout, "%s: full backup, merged from %d, up to transaction %s; %s with %s, %s, %s compressed\n",
		done.Name, len(done.MergedFrom), formatLast(done.TID), human.Number(done.Counts.Entries, "file"), objectsText(done), human.Bytes(done.Bytes), human.Bytes(done.Archive.Bytes))
	return err
}

// chooseIdentity finds out which storage is meant.
func chooseIdentity(r *backup.Repository, identity string) (string, error) {
	ids := r.Identities()
	switch {
	case identity != "":
		return identity, nil
	case len(ids) == 0 && len(r.Damaged) > 0:
		name := slices.Sorted(maps.Keys(r.Damaged))[0]
		return "", fmt.Errorf("no backup in %s can be used (of %d): the manifest of %s: %w", filepath.Clean(r.Store.Path("")), len(r.Damaged), name, r.Damaged[name])
	case len(ids) == 0:
		repo := filepath.Clean(r.Store.Path(""))
		return "", hint(fmt.Errorf("%w: %s has none", backup.ErrNoBackup, repo), "see that it is the directory, and that its disk is mounted; dirstorage backup run HOME %s makes the first backup", shellWord(repo))
	case len(ids) > 1:
		return "", fmt.Errorf("%s has backups of %s; choose by --identity, one of %s", r.Store.Path(""), human.Number(int64(len(ids)), "storage"), strings.Join(ids, ", "))
	}
	return ids[0], nil
}

func newest(r *backup.Repository, identity string) (*backup.Plan, error) {
	identity, err := chooseIdentity(r, identity)
	if err != nil {
		return nil, err
	}
	return r.Newest(identity)
}

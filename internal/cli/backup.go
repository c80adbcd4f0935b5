package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func newBackup(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "backup",
		Short: "Make and keep backups of a storage, running or not",
		Long: `A backup is the storage, with its blobs and its config, at exactly one transaction.
It is made of a snapshot, so writers go on. A repository, REPO, is a directory of
backups; by default HOME/backups. The cost of an incremental backup grows with the
changes only. Contents of a backup: docs/backup.md; how to get it back: dirstorage
restore.`,
		Example: `  dirstorage backup run /srv/zodb /backup/zodb
  dirstorage backup list /backup/zodb
  dirstorage backup verify --data /backup/zodb`,
		RunE: wantsCommand,
	}
	c.AddCommand(
		newBackupMake(e, "full", backup.Full, "Make a full backup"),
		newBackupMake(e, "inc", backup.Incremental, "Make an incremental backup"),
		newBackupMake(e, "run", "", "Make an incremental backup, or a full one if it is time"),
		newBackupList(e), newBackupVerify(e), newBackupPrune(e), newBackupMerge(e),
	)
	return c
}

// openStore opens the repository in a directory. With create, the directory is made if it does not
// exist, but not its parents.
func openStore(dir string, create bool) (objstore.Store, error) {
	if create {
		above, base, err := vfs.Split(dir)
		if err != nil {
			return nil, err
		}
		if err := vfs.WantDir(above); err != nil {
			return nil, err
		}
		if _, err := vfs.MkdirAll(above, base); err != nil {
			return nil, err
		}
		if err := above.SyncDir("."); err != nil {
			return nil, err
		}
	}
	f, err := vfs.OS(dir)
	if err == nil {
		_, err = f.Stat(".")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint(fmt.Errorf("no repository of backups: %s does not exist", dir),
			"look whether the name is right, and whether a disk is not mounted there; dirstorage backup run HOME %s makes a new one", shellWord(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("no repository of backups: %w", err)
	}
	if _, err := f.Stat("config/settings"); err == nil {
		return nil, hint(fmt.Errorf("%s is a storage, and not a repository of its backups", dir), "give REPO; if none was given to backup full, it is %s", filepath.Join(dir, "backups"))
	}
	return objstore.NewDir(f), nil
}

func openRepository(ctx context.Context, dir string) (*backup.Repository, error) {
	store, err := openStore(dir, false)
	if err != nil {
		return nil, err
	}
	return backup.Open(ctx, store)
}

type backupCommand struct {
	kind              backup.Kind
	home, repo        string
	reference         string
	fullAfter         string
	maxChain          int
	timeout, interval float64
	conf              string
	json, join        bool
}

func newBackupMake(e *env, name string, kind backup.Kind, short string) *cobra.Command {
	o := backupCommand{kind: kind}
	long := map[backup.Kind]string{
		backup.Full: "Copy config and all of A into a new backup.",
		backup.Incremental: `Copy config and the changes since an earlier backup, the reference: the newest
one, or with --reference the newest that is older than that. It follows the
transactions back to the reference and does not look at the rest of A. If nothing
was written since, there is no new backup. It fails if there is no reference, or if
the storage was put back to an earlier state since.`,
		"": `Make an incremental backup upon the newest one. Make a full one instead if there is
none to build upon, if the full backup of the chain is older than --full-after, or
if the chain has --max-chain members. It does not build upon a backup that was bad
when it was last verified. For a daily or hourly job.`,
	}[kind]
	c := &cobra.Command{
		Use:         name + " HOME [REPO]",
		Annotations: interruptible("no backup was made, and the storage is left as it was; run it again, it begins anew"),
		Short:       short,
		Long: long + `

A running storage is brought into snapshot mode by the methods of
config/snapshot.conf, and leaves it as soon as the files were read. REPO is made
if it does not exist. The exit status is 3 if the storage is damaged: then the
backup has its sound part; and 4 if somebody else has entered snapshot mode and
transactions were committed since, which a backup would lack: see --join.`,
		Example: fmt.Sprintf("  dirstorage backup %s /srv/zodb /backup/zodb", name),
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			o.home, o.repo = args[0], filepath.Join(args[0], "backups")
			if len(args) > 1 {
				o.repo = args[1]
			}
			if err := notInside(o.repo); err != nil {
				return err
			}
			return o.run(c.Context(), e)
		},
	}
	if kind != backup.Full {
		c.Flags().StringVar(&o.reference, "reference", "", "build upon the newest backup that is older than this `TIME`, such as \"36 hours ago\"")
	}
	if kind == "" {
		c.Flags().StringVar(&o.fullAfter, "full-after", "7 days", "make a full backup if that of the chain is older than this `AGE`")
		c.Flags().IntVar(&o.maxChain, "max-chain", 0, "make a full backup once the chain has `N` members; 0 = no limit")
	}
	c.Flags().Float64VarP(&o.timeout, "timeout", "t", 0, "if snapshot mode is not reached, try again for this many `seconds`")
	c.Flags().Float64VarP(&o.interval, "sleep", "s", 10, "`seconds` between two tries")
	c.Flags().StringVar(&o.conf, "snapshot-conf", "", "a `FILE` to use instead of HOME/config/snapshot.conf")
	c.Flags().BoolVar(&o.join, "join", false, "also back up a snapshot that somebody else entered, without the transactions committed since")
	c.Flags().BoolVar(&o.json, "json", false, "print the result as JSON")
	return c
}

func (o *backupCommand) options(e *env) (backup.Options, error) {
	b := backup.Options{Kind: o.kind, Now: e.Now, MaxChain: o.maxChain, Warn: e.warn}
	err := wantSeconds(o.timeout, o.interval)
	if err == nil && o.maxChain < 0 {
		err = usage("--max-chain %d: want 0 or more", o.maxChain)
	}
	if err != nil {
		return b, err
	}
	if o.reference != "" {
		if b.Before, err = e.parseTime("--reference", o.reference); err != nil {
			return b, err
		}
	}
	if o.fullAfter != "" {
		if b.FullBefore, err = e.parseTime("--full-after", o.fullAfter+" ago"); err != nil {
			return b, usage("--full-after %q: want a number and minutes, hours, days or weeks", o.fullAfter)
		}
	}
	b.Snapshot = e.snapshotOptions(o.home)
	if b.Snapshot.Conf = o.conf; o.conf != "" {
		if _, err := vfs.ReadFile(o.conf); err != nil { // before REPO is made
			return b, err
		}
	}
	if o.join {
		b.Snapshot.Join = snapshot.Any
	}
	b.Snapshot.Timeout = time.Duration(o.timeout * float64(time.Second))
	b.Snapshot.Interval = time.Duration(o.interval * float64(time.Second))
	return b, nil
}

func (e *env) warn(text string) { e.note("dirstorage: %s\n", text) }

// note writes something to Stderr that is neither an error nor damage.
func (e *env) note(format string, args ...any) {
	if !e.Quiet {
		fmt.Fprintf(e.Stderr, format, args...)
	}
}

func (o *backupCommand) run(ctx context.Context, e *env) error {
	b, err := o.options(e)
	if err != nil {
		return err
	}
	if home, err := openHome(o.home); err == nil { // otherwise the status is not read either
		record := e.record(home, runs.Backup)
		damage, err := o.make(ctx, e, b)
		ended := err
		if _, is := errors.AsType[*damagedBackupsError](err); is {
			ended = nil // this backup is good
		}
		record.end(runs.Result{Check: damage}, ended)
		return err
	}
	_, err = o.make(ctx, e, b)
	return err
}

// make returns also the damage of the storage that the backup met; nil: none.
func (o *backupCommand) make(ctx context.Context, e *env, b backup.Options) (damage *runs.Checked, err error) {
	st, err := readStatus(ctx, e, o.home)
	if err != nil {
		return nil, err
	}
	if b.Store, err = openStore(o.repo, true); err != nil {
		return nil, err
	}
	m := newMeter(e)
	total := int64(0)
	if o.kind == backup.Full {
		total = st.Counts.Bytes
	}
	b.Progress = m.showFiles(total)
	done, err := backup.Run(ctx, b)
	m.end()
	switch {
	case errors.Is(err, backup.ErrNoReference):
		err = hint(err, "dirstorage backup full %s %s", o.home, o.repo)
	case errors.Is(err, vfs.ErrLocked) && !errors.Is(err, zodb.ErrDiskFull) && !vfs.SaysFull(err):
		err = hint(err, "wait until the other one is done, or give -t SECONDS to try again")
	}
	if err != nil {
		return nil, err
	}
	if o.json {
		err = e.printJSON(done)
	} else {
		err = o.print(e, done)
	}
	if done.Backup != nil && done.Backup.ProblemCount > 0 {
		damage = &runs.Checked{Extent: runs.Part, LastTID: done.Backup.TID, Damage: done.Backup.ProblemCount}
		for _, p := range done.Backup.Problems[:min(len(done.Backup.Problems), firstFindings)] {
			damage.First = append(damage.First, shortened(p))
		}
	}
	if err == nil && damage != nil {
		err = &status{code: exitDamage, err: hint(fmt.Errorf("the storage has damage in %s; it was backed up as it is", human.Number(done.Backup.ProblemCount, "file")),
			"dirstorage check %s", o.home)}
	}
	if err == nil && len(done.Damaged) > 0 {
		err = &status{code: exitDamage, err: hint(&damagedBackupsError{done.Damaged},
			"dirstorage backup verify %s shows the damage; move the files of these backups, and of those that build upon them, to another directory, and keep them until you know the cause", shellWord(o.repo))}
	}
	return damage, err
}

// damagedBackupsError is about manifests in a repository to which a good backup was added.
type damagedBackupsError struct{ names []string }

func (e *damagedBackupsError) Error() string {
	return "this run did its work, but the repository has damage: the manifest of " + strings.Join(e.names, ", of ")
}

func (o *backupCommand) print(e *env, done *backup.Result) error {
	if done.Backup == nil && done.Joined {
		_, err := fmt.Fprintf(e.Stdout, "no new backup: the snapshot of %s, in which this takes part, is in backup %s already, up to transaction %s; later transactions are in no backup\n",
			human.FormatTime(done.SnapshotAt, time.Local), done.Unchanged.Name, formatLast(done.Unchanged.TID))
		return err
	}
	if done.Backup == nil {
		_, err := fmt.Fprintf(e.Stdout, "nothing has changed since backup %s of transaction %s\n", done.Unchanged.Name, formatLast(done.Unchanged.TID))
		return err
	}
	m := done.Backup
	since := ""
	if m.Reference != nil {
		since = ", since " + m.Reference.Name
	}
	if done.Joined {
		since += ", of the snapshot of " + human.FormatTime(done.SnapshotAt, time.Local)
	}
	_, err := fmt.Fprintf(e.Stdout, "%s: %s backup%s, up to transaction %s; %s with %s, %s, %s compressed; in %s, %s of it in snapshot mode\n",
		m.Name, m.Kind, since, formatLast(m.TID), human.Number(m.Counts.Entries, "file"), objectsText(m), human.Bytes(m.Bytes), human.Bytes(m.Archive.Bytes),
		human.Duration(m.Ended.Sub(m.Began)), human.Duration(done.InSnapshot))
	return err
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/runs"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeo"
	"github.com/dirstorage/dirstorage/zodb"
)

func newStatus(e *env) *cobra.Command {
	o := statusCommand{}
	c := &cobra.Command{
		Use:         "status HOME",
		Annotations: interruptible("nothing was changed; run it again"),
		SuggestFor:  []string{"info", "state"},
		Short:       "Say what is wrong with a storage, what runs, and how much it holds",
		Long: `Say what is wrong with a storage and its server, the worst first, with the next step
for each: also damage that a check, backup, pack or client met, until a later check
is clean, and runs of these, of verify and of reclaim that failed or were killed. Then
which program runs and since when, the clients, how far flush, backup and verification
are behind, and a copy behind the source that import --follow follows, snapshot mode, and the space that is used, free, and going to be free. The
exit status is 0 if nothing is wrong, 3 if data are damaged or missing, and 6 if
something else is wrong.

Backups are looked for in --repository, or the setting backup-repository of the server,
or HOME/backups. A storage of which no backup is known is not taken for a fault: other
programs may make backups.

--watch shows it again every --interval, on a terminal in place until q or Ctrl-C,
elsewhere one below the other.

It costs nothing, even for a large storage. The room on the disk is estimated: of
bundles it is their size; in other formats each file is a block at least, and files
that packs have put aside are not counted.

--count looks at each file: it counts the objects and revisions, which a HOME of the
original, or a copy of A and config, does not know; it measures the room of HOME on
the disk, part by part; and it shows how much packs have put aside, blobs included,
and from when on the next pack frees that. Of a HOME of the format bundled that is
shown in any case: how much is gone for good and not given back yet, and how much is
put aside, and until when; without --count an estimate if it is not running.`,
		Example: "  dirstorage status /srv/zodb\n  dirstorage status --watch --repository /backup/zodb /srv/zodb\n  dirstorage status --count /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home = args[0]
			return o.run(c.Context(), e)
		},
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON; with --watch one document a line")
	c.Flags().BoolVar(&o.count, "count", false, "count its contents, file by file")
	c.Flags().StringVar(&o.repository, "repository", "", "the `DIR` with the backups")
	c.Flags().StringVar(&o.backupAge, "backup-age", usualBackupAge, "the `AGE` of the last backup from which on it is wrong, if there are later transactions; 0 = never")
	c.Flags().StringVar(&o.verifyAge, "verify-age", usualVerifyAge, "the same of the last verification that found a backup good")
	o.watching.addFlags(c)
	return c
}

// Limits of the backups, unless the user says otherwise. The pages have them, too.
const (
	usualBackupAge = "26 hours"
	usualVerifyAge = "8 days"
)

type statusCommand struct {
	home, repository     string
	backupAge, verifyAge string
	count, json          bool
	watching
	limits problemLimits
}

func (o *statusCommand) run(ctx context.Context, e *env) (err error) {
	if o.limits, err = e.parseLimits(o.backupAge, o.verifyAge); err != nil {
		return err
	}
	if o.count && o.watch {
		return usage("--count cannot be combined with --watch, which looks again and again; leave one out")
	}
	if err := o.check(); err != nil {
		return err
	}
	if o.watch {
		return o.each(ctx, e, func(ctx context.Context) (frame, error) {
			st, err := o.look(ctx, e)
			if err != nil {
				return frame{}, err
			}
			rows := st.rows(e.Now())
			footer := fmt.Sprintf("%s; q: end; every %s", human.FormatTime(e.Now(), time.Local), human.Duration(o.interval))
			return frame{lines: func(width int) []string { return layoutRows(e, rows, width, true) }, footer: func() string { return footer }, doc: st}, nil
		}, o.json, nil)
	}
	st, err := o.look(ctx, e)
	if err != nil {
		return err
	}
	if o.json {
		err = e.printJSON(st)
	} else {
		err = printLines(e.Stdout, layoutRows(e, st.rows(e.Now()), e.outColumns(), false))
	}
	return errors.Join(err, st.verdict())
}

// look reads everything.
func (o *statusCommand) look(ctx context.Context, e *env) (homeStatus, error) {
	st, err := readStatus(ctx, e, o.home)
	if err != nil && st.unopened(ctx, e, o.home, o.repository, err) {
		err = nil
	} else {
		if err == nil && o.count {
			err = st.count(ctx, e)
		}
		if err == nil {
			err = st.lookAround(ctx, e, o.repository)
		}
	}
	st.findProblems(e.Now(), o.limits)
	return st, err
}

// verdict is the exit status.
func (st *homeStatus) verdict() error {
	code := exitOK
	for _, p := range st.Problems {
		switch p.Code {
		case damagedCode, "lost_list":
			return &status{code: exitDamage}
		}
		code = exitProblem
	}
	if code == exitOK {
		return nil
	}
	return &status{code: code}
}

// unopened describes a storage that cannot be opened, if that is because of damage, or damage is on
// record, or because the process that has it open does not answer; else it reports false.
func (st *homeStatus) unopened(ctx context.Context, e *env, path, repository string, cause error) bool {
	_, newer := errors.AsType[*layout.NewerError](cause)
	home, err := openHome(path)
	if newer || err != nil || ctx.Err() != nil || errors.Is(cause, fs.ErrPermission) { // which have remedies of their own
		return false
	}
	u := homeStatus{Unopened: errorText(cause), Status: zodb.Status{Home: home.Path(".")}}
	if b, err := home.ReadFile("config/identity"); err == nil {
		u.Identity, _ = settings.ParseIdentity(b) // without one the records are those of any storage
	}
	_, u.silent = errors.AsType[*control.SilentError](cause)
	if err := u.lookAround(ctx, e, repository); err != nil || !u.silent && !isDamage(cause) && u.job(runs.Check).Damage.Broken() == 0 {
		return false
	}
	if u.silent {
		u.Running, u.LockedBy = true, vfs.LockHolder(home, "misc/lock")
	}
	u.unsound = isDamage(cause)
	if _, err := home.Stat(string(store.A)); errors.Is(err, fs.ErrNotExist) {
		u.withoutA = true
	}
	*st = u
	return true
}

// parseLimits reads the limits that the user may set.
func (e *env) parseLimits(backupAge, verifyAge string) (l problemLimits, err error) {
	if l.backupAge, err = e.parseAge("--backup-age", backupAge); err == nil {
		l.verifyAge, err = e.parseAge("--verify-age", verifyAge)
	}
	return l, err
}

// parseAge reads an age such as “7 days”; 0 is none.
func (e *env) parseAge(flag, text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	at, err := e.parseTime(flag, text+" ago")
	if err != nil {
		return 0, usage("%s %q: want a number and minutes, hours, days or weeks, or 0", flag, text)
	}
	return max(e.Now().Sub(at), 1), nil
}

// count counts and measures the contents of a storage.
func (st *homeStatus) count(ctx context.Context, e *env) error {
	s, err := openReader(ctx, e, st.Home)
	if err != nil {
		return err
	}
	st.Counts, err = s.CountExactly(ctx)
	if err == nil {
		var use engine.DiskUse
		use, err = s.DiskUse(ctx)
		st.Disk = &use
	}
	return errors.Join(err, s.Close())
}

// homeStatus is a storage's description of itself, with whether it runs.
type homeStatus struct {
	Running bool `json:"running"`
	// Problems are the faults, the severe ones first.
	Problems []problem `json:"problems"`
	zodb.Status
	// Server is the server that serves it; nil: no server has it open. Activity is that of its clients.
	Server   *serverState         `json:"server,omitempty"`
	Activity *zeo.StorageActivity `json:"activity,omitempty"`
	// Follows is the source of a copy that import --follow keeps up; nil: none does.
	Follows *standbyState `json:"follows,omitempty"`
	Backup  *backupState  `json:"backup,omitempty"`
	// Jobs are the records of check, backup, pack, reclaim and verify; those that are there.
	Jobs []jobState `json:"jobs,omitempty"`
	// Place are the faults of the mount and of the disk, as doctor finds them.
	Place []doctor.Finding `json:"place,omitempty"`
	// LockedBy is the process that holds misc/lock, and does not answer at the control socket; 0: nobody
	// does, or it cannot be seen.
	LockedBy int `json:"locked_by,omitempty"`
	// Unopened is why it cannot be opened, so that only files beside the database are known.
	Unopened string `json:"unopened,omitempty"`
	unsound  bool   // because of damage
	withoutA bool   // because A is missing, of which check says nothing else
	unkept   bool   // no room is kept for records of damage, as a server does
	silent   bool   // because the process that has it open does not answer
	// Disk is the room of HOME on the disk; nil: it was not measured.
	Disk *engine.DiskUse `json:"disk,omitempty"`
}

// readStatus asks the process that has the storage open, or else looks at the
// files.
func readStatus(ctx context.Context, e *env, home string) (homeStatus, error) {
	st := homeStatus{Running: true}
	running, err := control.Dial(ctx, home)
	if err == nil {
		err := st.ask(ctx, running)
		return st, errors.Join(err, running.Close())
	}
	if !errors.Is(err, control.ErrNotRunning) {
		return st, err
	}
	holder := 0
	if dir, err := vfs.OS(home); err == nil {
		holder = vfs.LockHolder(dir, "misc/lock")
	}
	s, err := openReader(ctx, e, home)
	if err != nil {
		return st, err
	}
	st = homeStatus{Status: s.Status(), LockedBy: holder}
	st.PID, st.ReadOnly = 0, false
	if st.Snapshot == "" {
		dir, err := openHome(home)
		if err != nil {
			return st, errors.Join(err, s.Close())
		}
		code, err := dir.ReadFile(snapfile.Name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return st, errors.Join(err, s.Close())
		}
		st.Snapshot = string(code)
		if r, err := snapfile.Read(dir); err == nil && r.Code != snapfile.Shutdown {
			st.SnapshotMode = &zodb.SnapshotStatus{Since: r.Moment, Seconds: e.Now().Sub(r.Moment).Seconds(), TID: r.TID}
			st.SnapshotMode.Code, _ = snapfile.UserCode(r.Code)
		}
	}
	return st, s.Close()
}

// ask asks the process that has the storage open.
func (st *homeStatus) ask(ctx context.Context, running *control.Client) error {
	b, err := running.Status(ctx)
	if err == nil {
		err = json.Unmarshal(b, &st.Status)
	}
	if err != nil {
		return err
	}
	var server serverState
	serves, err := askServer(ctx, running, opServer, &server)
	switch {
	case err != nil:
		return err
	case !serves:
		return st.askStandby(ctx, running)
	}
	st.Server = &server
	var a zeo.Activity
	if serves, err = askServer(ctx, running, opClients, &a); serves && len(a.Storages) > 0 {
		st.Activity = &a.Storages[0]
	}
	return err
}

// formatDone says how far a pack has come in its phase.
func formatDone(p *zodb.PackProgress) string {
	if p.Total == 0 {
		return human.Count(p.Done) + " done"
	}
	text := fmt.Sprintf("%s of %s", human.Count(p.Done), human.Count(p.Total))
	if p.LeftSeconds > 0 {
		text += ", " + human.Duration(time.Duration(p.LeftSeconds*1e9)) + " left"
	}
	return text
}

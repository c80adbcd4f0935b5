package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/config"
	"github.com/dirstorage/dirstorage/internal/doctor"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

type doctorCommand struct {
	quick bool
	json  bool
}

func newDoctor(e *env) *cobra.Command {
	var o doctorCommand
	c := &cobra.Command{
		Use:         "doctor HOME|DIR",
		Annotations: interruptible("the trials were removed, and nothing was changed; run it again"),
		SuggestFor:  []string{"probe", "diagnose", "selftest"},
		Short:       "Try whether a place keeps the promises that a storage relies on",
		Long: `Look at the place of a storage, or at a directory in which one will be made. It tries
rename, fsync, locks, links, names and time stamps in the directory .doctor there,
which it removes; it looks at the mount, free space and inodes, the clock, owners and
modes, the limits of the server, leftovers of interrupted commands, and the version
of HOME. HOME may be in use.

Each finding has a grade (ok, note, warning, fault), what was seen, its meaning, and
what to do. The exit status is 3 if there is a fault, else 0.

--quick does what serve does at its start: a few small writes. serve logs each
finding, and does not start if a trial shows that a promise does not hold.`,
		Example: "  dirstorage doctor /srv/zodb\n  dirstorage doctor --json /mnt/new-disk",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return o.run(c.Context(), e, args[0])
		},
	}
	c.Flags().BoolVar(&o.quick, "quick", false, "only the quick part, as at the start of the server")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func (o *doctorCommand) run(ctx context.Context, e *env, place string) error {
	f, err := placeToExamine(place)
	if err != nil {
		return err
	}
	options, err := e.examination(ctx, f)
	if err != nil {
		return err
	}
	options.Quick = o.quick
	if asked, perr := vfs.OS(place); perr == nil && asked.Path(".") != f.Path(".") {
		options.Missing = asked.Path(".")
	}
	report, err := doctor.Run(ctx, options)
	if errors.Is(err, doctor.ErrBusy) {
		return &status{code: exitLocked, err: err}
	}
	if err != nil {
		return err
	}
	if o.json {
		err = e.printJSON(report)
	} else {
		err = printReport(e, report)
	}
	if err == nil && report.Grade == doctor.Fault {
		return &status{code: exitDamage}
	}
	return err
}

// placeToExamine is HOME or another directory; of one that does not exist yet that above it.
func placeToExamine(place string) (vfs.FS, error) {
	f, err := vfs.OS(place)
	if err != nil {
		return nil, err
	}
	if _, err := f.Stat("."); errors.Is(err, fs.ErrNotExist) {
		if f, _, err = vfs.Split(place); err != nil {
			return nil, err
		}
	}
	return f, vfs.WantDir(f)
}

// examination gathers the facts for a doctor.
func (e *env) examination(ctx context.Context, f vfs.FS) (doctor.Options, error) {
	begun := time.Now()
	o := doctor.Options{
		FS: f, Now: e.Now, Steady: func() time.Duration { return time.Since(begun) }, Synchronised: doctor.Synchronised,
		Mount: e.Mount, WithoutJournal: vfs.WithoutJournal, User: os.Geteuid(),
		Limits: doctor.Limits{Files: budget.Files(), Memory: e.Memory, User: -1},
	}
	if e.Program != "" {
		o.TryLock = e.tryLock
	}
	conf, err := config.Load(pflag.NewFlagSet("", pflag.ContinueOnError), f.Path("."), e.Getenv, vfs.ReadFile)
	if err != nil {
		return o, &status{code: exitUsage, err: err}
	}
	o.Limits.Connections, o.LowSpace = conf.MaxConnections, conf.LowSpace
	home, pid := e.examinedHome(ctx, f)
	o.Home = home
	if pid != 0 {
		root, err := vfs.OS("/")
		if err != nil {
			return o, err
		}
		o.Limits = doctor.LimitsOf(root, pid, o.Limits)
	}
	return o, ctx.Err()
}

// examinedHome returns the facts about a storage, and the process that has it open; nil if there is
// none.
func (e *env) examinedHome(ctx context.Context, f vfs.FS) (home *doctor.Home, pid int) {
	home, err := readSettings(f)
	if home == nil || err != nil {
		return home, 0
	}
	st, err := readStatus(ctx, e, f.Path("."))
	home.Err, home.Running, home.LastTID, home.Snapshot = err, err == nil && st.Running, st.LastTID, st.Snapshot
	if n := st.Counts; err == nil && n.Exact {
		home.Sized = true
		home.Copy = transfer.RoomOfCounts(n, false)
		if size, known, err := formats.Size(f, home.Settings.Structure.Format); err == nil && known {
			home.Copy.Bytes = size + n.BlobBytes
		}
	}
	if largest, err := formats.Largest(f, home.Settings.Structure.Format); err == nil { // otherwise it is not known
		home.Largest = largest
	}
	return home, st.PID
}

// readSettings begins the facts about a storage; nil: there is none. The error is in them, too.
func readSettings(f vfs.FS) (*doctor.Home, error) {
	const name = "config/settings"
	text, err := f.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	home := new(doctor.Home)
	if err == nil {
		home.Settings, _, err = settings.Parse(text, f.Path(name))
	}
	home.Err = err
	return home, err
}

// The words of newTryLock.
const (
	lockTaken   = "taken"
	lockRefused = "refused"
)

// newTryLock is the process by which doctor tries a lock that it holds.
func newTryLock(e *env) *cobra.Command {
	return &cobra.Command{
		Use:    "try-lock FILE",
		Short:  "Try a lock (a part of doctor)",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, name, err := vfs.Split(args[0])
			if err != nil {
				return err
			}
			lock, err := dir.Lock(name)
			if errors.Is(err, vfs.ErrLocked) {
				_, err = fmt.Fprintln(e.Stdout, lockRefused)
				return err
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.Stdout, lockTaken)
			return errors.Join(err, lock.Close())
		},
	}
}

// tryLockTime is how long that process may take.
const tryLockTime = 30 * time.Second

// tryLock has another process try a lock.
func (e *env) tryLock(ctx context.Context, path string) (got bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryLockTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, e.Program, "try-lock", path).Output()
	switch word := strings.TrimSpace(string(out)); {
	case err != nil:
		return false, fmt.Errorf("another process: %w", err)
	case word == lockTaken || word == lockRefused:
		return word == lockTaken, nil
	}
	return false, fmt.Errorf("another process said %q; want %s or %s", out, lockTaken, lockRefused)
}

// printReport prints the findings, the worst ones first.
func printReport(e *env, r *doctor.Report) error {
	w := e.printer()
	if r.Missing != "" {
		w.printf("%s does not exist: the directory above it, %s, is examined\n", r.Missing, r.Path)
	}
	const indent = "         "
	width := usualColumns
	if n := e.outColumns(); n > 2*len(indent) {
		width = min(n, usualColumns)
	}
	for _, f := range r.Findings {
		text := f.Check + ": " + f.Seen
		for i, line := range broken(text, width-len(indent)) {
			if i == 0 {
				w.printf("%-8s %s\n", f.Grade, line)
			} else {
				w.printf("%s%s\n", indent, line)
			}
		}
		for _, more := range []struct{ name, text string }{{"it means: ", f.Means}, {"do: ", f.Do}} {
			if more.text == "" {
				continue
			}
			for _, line := range broken(more.name+more.text, width-len(indent)) {
				w.printf("%s%s\n", indent, line)
			}
		}
	}
	what := "directory"
	if r.Storage {
		what = "storage"
	}
	number := func(g doctor.Grade) string { return human.Number(int64(r.Count(g)), string(g)) }
	w.printf("%s %s: %s, %s, %s\n", what, r.Path, number(doctor.Fault), number(doctor.Warning), number(doctor.Note))
	return w.err
}

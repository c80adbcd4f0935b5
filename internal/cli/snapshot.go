package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

func newSnapshot(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Make HOME/A stand still while something copies it",
		Long: `In snapshot mode nothing below HOME/A changes, while the storage goes on reading
and writing. A copy of HOME/config and HOME/A that is made then is a backup.`,
		Example: `  dirstorage snapshot run /srv/zodb -- tar -C /srv/zodb -czf /backup/full.tgz config A
  dirstorage snapshot status /srv/zodb`,
		RunE: wantsCommand,
	}
	c.AddCommand(newSnapshotRun(e), newSnapshotEnter(e), newSnapshotLeave(e), newSnapshotStatus(e))
	return c
}

// snapshotOptions are those that all commands have in common.
func (e *env) snapshotOptions(home string) snapshot.Options {
	return snapshot.Options{Home: home, Now: e.Now, Getenv: e.Getenv, Warn: e.warn}
}

type snapshotRunCommand struct {
	home, conf        string
	timeout, interval float64
	join              bool
	command           []string
}

func newSnapshotRun(e *env) *cobra.Command {
	var o snapshotRunCommand
	c := &cobra.Command{
		Use:         "run HOME -- COMMAND [ARG...]",
		Annotations: map[string]string{foreignArguments: "COMMAND", ifInterrupted: "COMMAND was not run to its end, and the storage was told to leave snapshot mode: the copy that COMMAND made is not whole; run it again"},
		SuggestFor:  []string{"exec"},
		Short:       "Run a command while HOME/A stands still",
		Long: `Bring the storage into snapshot mode, by the methods of config/snapshot.conf:
one that is running over its control socket (or over XML-RPC), one that nobody
has open directly. Lock misc/sublock, make sure that misc/snapshot is there, run
COMMAND, and leave snapshot mode again.

If somebody else entered the mode, COMMAND runs in that snapshot, with a warning if
it lacks transactions committed since, but not if it lasts too long already (6
hours, see serve --snapshot-limit): then it was forgotten, and the exit status is 4.
--join takes it all the same.

The exit status is that of COMMAND, 128 and the number if a signal killed it, 2
without COMMAND, 4 if somebody else has entered a snapshot that is not to be used, or
has HOME or misc/sublock and cannot be asked, and 1 if the mode was not reached for another
reason or did not last. COMMAND finds
SNAPSHOT_VERSION=2, SNAPSHOT_DIRECTORY, SNAPSHOT_TIMESTAMP (seconds since 1970,
before the snapshot was asked for, by whomever), SNAPSHOT_TID (the last transaction
in A) and SNAPSHOT_CODE in its environment; commands of this program that it starts
take part in the snapshot.`,
		Example: "  dirstorage snapshot run /srv/zodb -- tar -C /srv/zodb -czf /backup/full.tgz config A",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.home, o.command = args[0], args[1:]
			if len(o.command) > 0 && o.command[0] == "--" {
				o.command = o.command[1:]
			}
			if err := wantProgram(o.command); err != nil {
				return err
			}
			return o.run(c.Context(), e)
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().Float64VarP(&o.timeout, "timeout", "t", 0, "if it fails, try again for this many `seconds`")
	c.Flags().Float64VarP(&o.interval, "sleep", "s", 10, "`seconds` between two tries")
	c.Flags().StringVar(&o.conf, "snapshot-conf", "", "a `FILE` to use instead of HOME/config/snapshot.conf")
	c.Flags().BoolVar(&o.join, "join", false, "also use a snapshot that somebody else entered long ago")
	return c
}

// wantProgram refuses a COMMAND that is missing, or whose first word is empty: the script that
// lost it would take the status 0 for a copy that was made.
func wantProgram(command []string) error {
	switch {
	case len(command) == 0:
		return hint(usage("there is no COMMAND to run in the snapshot"), "give it after --, as in: dirstorage snapshot run HOME -- tar -C HOME -czf FILE config A; snapshot enter only enters the mode")
	case command[0] == "":
		return usage("COMMAND is empty; is a variable not set?")
	}
	return nil
}

func (o *snapshotRunCommand) run(ctx context.Context, e *env) error {
	if err := wantSeconds(o.timeout, o.interval); err != nil {
		return err
	}
	if _, err := openHome(o.home); err != nil {
		return err
	}
	options := e.snapshotOptions(o.home)
	options.Conf, options.Join = o.conf, snapshot.Recent
	if o.join {
		options.Join = snapshot.Any
	}
	options.Timeout = time.Duration(o.timeout * float64(time.Second))
	options.Interval = time.Duration(o.interval * float64(time.Second))
	if e.Quiet {
		options.Warn = nil
	}
	held, err := snapshot.Enter(ctx, options)
	if err != nil {
		code := exitStatus(err)
		switch {
		case errors.Is(err, snapshot.ErrForeign):
			code = exitLocked
		case code == exitLocked && !errors.Is(err, zodb.ErrLocked) && !errors.Is(err, vfs.ErrLocked): // it is in another snapshot itself
			code = exitFailed
		}
		return &status{code: code, err: err}
	}
	code, err := o.start(ctx, e, held)
	// No matter how the command ended.
	if rerr := held.Release(context.WithoutCancel(ctx)); rerr != nil || err != nil {
		return &status{code: max(code, exitFailed), err: errors.Join(err, rerr)}
	}
	if code != 0 {
		return &status{code: code}
	}
	return nil
}

// Exit status of a command that cannot be started, as shells have it.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// start runs the command to its end and returns its exit status. A signal that
// asks this process to end is passed on; A stands still until the command is
// gone.
func (o *snapshotRunCommand) start(ctx context.Context, e *env, held *snapshot.Held) (int, error) {
	c := exec.CommandContext(ctx, o.command[0], o.command[1:]...)
	c.Stdin, c.Stdout, c.Stderr = e.Stdin, e.Stdout, e.Stderr
	c.Env = append(os.Environ(), held.Environment(o.home)...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	err := c.Run()
	if c.ProcessState != nil {
		ws, ok := c.ProcessState.Sys().(syscall.WaitStatus)
		if ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return c.ProcessState.ExitCode(), nil
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return exitNotFound, hint(err, "look whether the name of COMMAND is right, and whether PATH leads to it")
	}
	return exitNotExecutable, hint(err, "see ls -l %s: COMMAND has to be a program that this user may run; chmod +x makes a script one", shellWord(c.Path))
}

func newSnapshotEnter(e *env) *cobra.Command {
	var code, conf string
	var asJSON bool
	c := &cobra.Command{
		Use:         "enter HOME",
		Annotations: interruptible("dirstorage snapshot status HOME says whether the mode was entered; dirstorage snapshot leave HOME ends it"),
		SuggestFor:  []string{"start", "begin", "on"},
		Short:       "Bring a storage into snapshot mode and leave it there",
		Long: `Bring the storage into snapshot mode, and print the contents of misc/snapshot then.
It stays so until snapshot leave. A program that copies A locks misc/sublock (flock)
first and looks for misc/snapshot then; snapshot run does that by itself. An
incremental copy by time stamps has to record the time of modification of
misc/snapshot, read while the lock is held.

A storage that nobody has open is a snapshot already, after a roll forward if it was
not closed cleanly. It prints shutdown then, with status 0, as often as it is called;
--code is not used, with a warning. The snapshot ends when somebody opens the storage,
unless misc/sublock is held.

The exit status is 4 if somebody entered snapshot mode already and has not left it.`,
		Example: "  dirstorage snapshot enter /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := openHome(args[0]); err != nil {
				return err
			}
			o := e.snapshotOptions(args[0])
			o.Conf = conf
			now, err := snapshot.Start(c.Context(), o, code)
			if err != nil {
				return err
			}
			if code != "" && now.Code == snapfile.Shutdown {
				e.note("warning: the storage was closed, so there is no mode to enter, and --code %s is not used: the snapshot ends when somebody opens the storage, unless misc/sublock is held\n", shellWord(code))
			}
			if asJSON {
				return e.printJSON(now)
			}
			_, err = fmt.Fprintln(e.Stdout, snapshotText(args[0], now.Code))
			return err
		},
	}
	c.Flags().StringVar(&code, "code", "", "a `name` to enter it under; leave --code has to give the same; default: made up")
	c.Flags().StringVar(&conf, "snapshot-conf", "", "a `FILE` to use instead of HOME/config/snapshot.conf")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: code, moment and last transaction of the snapshot")
	return c
}

func newSnapshotLeave(e *env) *cobra.Command {
	var code, conf string
	var asJSON bool
	c := &cobra.Command{
		Use:         "leave HOME",
		Annotations: interruptible("dirstorage snapshot status HOME says whether it was left; run it again"),
		SuggestFor:  []string{"stop", "end", "exit", "off"},
		Short:       "End the snapshot mode of a storage",
		Long: `End the snapshot mode of a storage. It is refused while somebody holds misc/sublock.
A storage that was closed stays a snapshot until it is opened again.`,
		Example: "  dirstorage snapshot leave /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := openHome(args[0]); err != nil {
				return err
			}
			o := e.snapshotOptions(args[0])
			o.Conf = conf
			left, err := snapshot.Stop(c.Context(), o, code)
			if err == nil && asJSON {
				return e.printJSON(leaveReport{left})
			}
			if err == nil && !left {
				_, err = fmt.Fprintln(e.Stdout, "nothing to leave: the storage was closed cleanly")
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&code, "code", "", "the `name` under which it was entered; default: that in misc/snapshot")
	c.Flags().StringVar(&conf, "snapshot-conf", "", "a `FILE` to use instead of HOME/config/snapshot.conf")
	return c
}

// isSnapshot reports whether A is a snapshot that somebody may use, by the state of
// snapshot mode. One that is being left is none: misc/snapshot is gone already.
func isSnapshot(state string) bool {
	switch state {
	case "", "startup", "leaving", "recombining":
		return false
	}
	return true
}

// snapshotText says the state of snapshot mode, of which code is the content of misc/snapshot.
func snapshotText(home, code string) string {
	switch code {
	case "":
		return "off"
	case "shutdown":
		if f, err := vfs.OS(home); err == nil {
			if pid := vfs.LockHolder(f, "misc/lock"); pid != 0 {
				return fmt.Sprintf("shutdown: it was closed cleanly, and process %d has it open now: A stands still only while misc/sublock is held", pid)
			}
		}
		return "shutdown: nobody has it open, and it was closed cleanly, so that A stands still until it is opened"
	}
	return printable([]byte(code))
}

func newSnapshotStatus(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:         "status HOME",
		Annotations: interruptible("nothing was changed; run it again"),
		Short:       "Say whether HOME/A is a snapshot now",
		Long: `Print the contents of misc/snapshot: user/NAME in snapshot mode, shutdown after a
clean close; “off” if A is not a snapshot. The exit status is 4 then.`,
		Example: "  dirstorage snapshot status /srv/zodb",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			st, err := readStatus(c.Context(), e, args[0])
			if err != nil {
				return err
			}
			on := isSnapshot(st.Snapshot)
			if asJSON {
				err = e.printJSON(snapshotReport{on, st.Snapshot, st.Running, st.LastTID})
			} else {
				_, err = fmt.Fprintln(e.Stdout, snapshotText(args[0], st.Snapshot))
			}
			if err == nil && !on {
				err = &status{code: exitLocked}
			}
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

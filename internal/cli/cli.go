package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Exit status, as in docs/cli.md.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDamage      = 3
	exitLocked      = 4
	exitNoStorage   = 5
	exitInterrupted = 130
)

// env is the world as a command sees it.
type env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Getenv         func(string) string
	// Terminal tells whether progress may be shown on Stderr.
	Terminal bool
	Verbose  bool
}

// logger writes what a storage has to say to Stderr: warnings and errors, with
// --verbose everything.
func (e *env) logger() *slog.Logger {
	level := slog.LevelWarn
	if e.Verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(e.Stderr, &slog.HandlerOptions{Level: level}))
}

// printJSON writes one indented document.
func (e *env) printJSON(v any) error {
	enc := json.NewEncoder(e.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// status is an error that asks for an exit status of its own.
type status struct {
	code int
	err  error // nil: nothing to print, all was said
}

func (s *status) Error() string {
	if s.err == nil {
		return fmt.Sprintf("exit status %d", s.code)
	}
	return s.err.Error()
}

func (s *status) Unwrap() error { return s.err }

// usage returns an error about how a command was called.
func usage(format string, args ...any) error {
	return &status{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// hinted adds a line that says what to do.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// hint adds advice to an error.
func hint(err error, format string, args ...any) error {
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}

// exitStatus is the exit status for an error.
func exitStatus(err error) int {
	if s, ok := errors.AsType[*status](err); ok {
		return s.code
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, dirstorage.ErrNotAStorage):
		return exitNoStorage
	case errors.Is(err, dirstorage.ErrLocked), errors.Is(err, vfs.ErrLocked), errors.Is(err, dirstorage.ErrSnapshotMode):
		return exitLocked
	}
	return exitFailed
}

// Main runs the command line and returns the exit status.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Who presses Ctrl-C again does not want to wait for a clean end.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	e := &env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Getenv: os.Getenv,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	return run(ctx, e, args)
}

// run is Main with everything given.
func run(ctx context.Context, e *env, args []string) int {
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.Stdin)
	root.SetOut(e.Stdout)
	root.SetErr(e.Stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		if s, ok := errors.AsType[*status](err); !ok || s.err != nil {
			text := err.Error()
			if errors.Is(err, context.Canceled) {
				text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted")
			}
			fmt.Fprintf(e.Stderr, "dirstorage: %s\n", text)
		}
		if h, ok := errors.AsType[*hinted](err); ok {
			fmt.Fprintf(e.Stderr, "hint: %s\n", h.hint)
		} else if errors.Is(err, dirstorage.ErrDiskFull) {
			fmt.Fprintln(e.Stderr, "hint: nothing that was acknowledged is lost; make room (df shows bytes, df -i inodes) and run it again")
		} else if errors.Is(err, dirstorage.ErrScarce) {
			fmt.Fprintln(e.Stderr, "hint: nothing that was acknowledged is lost; raise the limit of open files (ulimit -n, LimitNOFILE= of systemd) or free memory, and run it again")
		}
	}
	return exitStatus(err)
}

// newRoot returns the command with all of its subcommands.
func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "dirstorage",
		Short:         "A ZODB storage of ordinary files: journal, snapshot mode, blobs",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().BoolVarP(&e.Verbose, "verbose", "v", false, "say on stderr what is done")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &status{code: exitUsage, err: err} })
	for _, add := range commands {
		root.AddCommand(add(e))
	}
	usageErrors(root)
	return root
}

// usageErrors makes wrong arguments of a command, and of those below it, exit
// with the status for usage, naming the form that is right.
func usageErrors(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usage("%w; usage: %s", err, c.UseLine())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageErrors(sub)
	}
}

// tempDir makes a temporary directory, in dir or where the system has them.
func (e *env) tempDir(dir, pattern string) (name string, remove func() error, err error) {
	name, err = os.MkdirTemp(dir, pattern)
	return name, func() error { return os.RemoveAll(name) }, err
}

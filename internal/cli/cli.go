package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// env is the world as a command sees it.
type env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Getenv         func(string) string
	Environ        func() []string // NAME=VALUE; may be nil
	// Terminal tells whether progress may be shown on Stderr.
	Terminal bool
	// Columns is the width of that terminal, which may change; 0 or nil: not known.
	Columns func() int
	// Screen is the terminal on Stdout; nil: there is none that can be drawn upon.
	Screen *screen
	// Color tells whether Stdout shows colours.
	Color bool
	// ProgressEvery is the time between two lines of progress; 0: the usual one.
	ProgressEvery time.Duration
	Verbose       bool
	// Quiet leaves out progress, warnings, and the reports of commands that were not called to print something.
	Quiet   bool
	NoPager bool
	// EndAtHangup, if not nil, makes SIGHUP end the command as SIGTERM does.
	EndAtHangup func()
	// OwnTerminal reports whether this process belongs to a terminal, with which a server ends; nil: it does not.
	OwnTerminal func() bool
	// Memory is how much this process may use; nothing: it was not asked.
	Memory budget.Memory
	// Mount describes the mount that holds a path, as vfs.MountInfo; nil: nothing is known of mounts.
	Mount func(path string) (m vfs.Mount, known bool)
	// Program is this program, to start another process of; "": it starts none.
	Program string
}

// usualColumns is the width of a terminal that does not tell its own.
const usualColumns = 80

// columns is the width of the terminal.
func (e *env) columns() int {
	if e.Columns != nil {
		if n := e.Columns(); n > 0 {
			return n
		}
	}
	return usualColumns
}

// outColumns is the width of the terminal on Stdout; 0: there is none.
func (e *env) outColumns() int {
	if e.Screen == nil {
		return 0
	}
	width, _ := e.Screen.size()
	return width
}

// findScreen looks for a terminal on standard output.
func findScreen() *screen {
	if !term.IsTerminal(int(os.Stdout.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	s := &screen{out: os.Stdout}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		s.in = os.Stdin
	}
	return s
}

// logger writes the log of a storage to Stderr: warnings and errors, with --verbose everything.
func (e *env) logger() *slog.Logger {
	switch {
	case e.Verbose:
		return slog.New(slog.NewTextHandler(e.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	case e.Quiet:
		return slog.New(newPlainLog(e.Stderr, slog.LevelError, e.Terminal))
	}
	return slog.New(newPlainLog(e.Stderr, slog.LevelWarn, e.Terminal))
}

// Main runs the command line and returns the exit status.
func Main(args []string) int { return mainWith(args, func(context.Context, *env) {}) }

// mainWith is Main with something changed; ctx ends at the first signal.
func mainWith(args []string, change func(ctx context.Context, e *env)) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	// A second Ctrl-C means: do not wait for a clean end.
	context.AfterFunc(ctx, func() { signal.Reset(os.Interrupt) })
	signals := make(chan os.Signal, 1)
	defer signal.Stop(signals)
	endAt := func(s ...os.Signal) { signal.Notify(signals, s...) }
	endAt(os.Interrupt, syscall.SIGTERM)
	go func() { <-signals; cancel(interruptedError{}) }()
	e := &env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Getenv: os.Getenv, Environ: os.Environ,
		Mount:    vfs.MountInfo,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb",
		Columns: func() int {
			width, _, err := term.GetSize(int(os.Stderr.Fd()))
			if err != nil {
				return 0
			}
			return width
		},
		Screen: findScreen(),
		EndAtHangup: func() {
			if signal.Ignored(syscall.SIGHUP) { // nohup
				return
			}
			endAt(syscall.SIGHUP)
		},
	}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		e.OwnTerminal = hasTerminal
	}
	e.Color = e.Screen != nil && os.Getenv("NO_COLOR") == ""
	e.Memory = budget.Find(e.Getenv, vfs.ReadFile, budget.Machine)
	e.Memory.Apply()
	if self, err := os.Executable(); err == nil {
		e.Program = self
	}
	change(ctx, e)
	return run(ctx, e, args)
}

// run is Main with everything given.
func run(ctx context.Context, e *env, args []string) int {
	stdout, verbose, quiet := e.Stdout, e.Verbose, e.Quiet
	defer func() { e.Stdout, e.Verbose, e.Quiet = stdout, verbose, quiet }()
	endPager := func(err error) error { return err }
	root := newRoot(e)
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		root.InitDefaultHelpCmd()
		e.completeValues(root)
	}
	ready := root.PersistentPreRunE
	root.PersistentPreRunE = func(c *cobra.Command, args []string) error {
		if among(pagedCommands(), c) {
			endPager = e.startPager()
		}
		return ready(c, args)
	}
	root.SetArgs(args)
	root.SetIn(e.Stdin)
	root.SetOut(e.Stdout)
	root.SetErr(e.Stderr)
	c, err := root.ExecuteContextC(ctx)
	err = endPager(err)
	e.tell(c, err)
	return exitStatus(err)
}

// hangupReloads is the annotation of a command for which SIGHUP has a meaning of its own.
const hangupReloads = "SIGHUP reloads"

const rootShort = "A ZODB storage of ordinary files: journal, snapshot mode, blobs"

// newRoot returns the command with all of its subcommands.
func newRoot(e *env) *cobra.Command {
	version := false
	root := &cobra.Command{
		Use:   "dirstorage",
		Short: rootShort,
		Long:  rootShort + ".\n\n" + environmentHelp + "\n\n" + topicList(),
		Example: `  dirstorage serve /srv/zodb
  dirstorage status /srv/zodb
  dirstorage backup run /srv/zodb /backup/zodb
  DIRSTORAGE_HOME=/srv/zodb dirstorage log -n 10`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if version {
				return printVersion(e, false)
			}
			return wantsCommand(c, nil)
		},
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			if e.Quiet && e.Verbose {
				return usage("--quiet cannot be combined with --verbose; leave one out")
			}
			if e.Quiet && among(reportingCommands(), c) && !asksForResult(c) {
				e.Stdout = io.Discard
			}
			if e.EndAtHangup != nil && c.Annotations[hangupReloads] == "" {
				e.EndAtHangup()
			}
			return nil
		},
	}
	root.Flags().BoolVar(&version, "version", false, "print the version of the program, its source and Go")
	root.PersistentFlags().BoolVarP(&e.Verbose, "verbose", "v", false, "report each step on stderr")
	root.PersistentFlags().BoolVarP(&e.Quiet, "quiet", "q", false, "print errors, and results that were asked for, and nothing else")
	root.PersistentFlags().BoolVar(&e.NoPager, "no-pager", false, "print long lists without PAGER")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelp())
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		if c != root {
			_ = printHelp(c.OutOrStdout(), c) // as cobra does
			return
		}
		_, _ = io.WriteString(c.OutOrStdout(), rootHelp(c)) // as cobra does
	})
	for _, add := range commands() {
		root.AddCommand(add(e))
	}
	e.useEnvironment(root)
	e.usageErrors(root)
	return root
}

// tempDir makes a temporary directory, in dir or where the system has them.
func (e *env) tempDir(dir, pattern string) (name string, remove func() error, err error) {
	name, err = os.MkdirTemp(dir, pattern)
	return name, func() error { return os.RemoveAll(name) }, err
}

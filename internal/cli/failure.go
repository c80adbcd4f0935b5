package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Exit status, as in docs/cli.md.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDamage      = 3
	exitLocked      = 4
	exitNoStorage   = 5
	exitProblem     = 6
	exitInterrupted = 130
)

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

// hinted adds a line with advice.
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
	if _, ok := errors.AsType[*zodb.OptionError](err); ok {
		return exitUsage
	}
	_, silent := errors.AsType[*control.SilentError](err)
	switch {
	case err == nil:
		return exitOK
	case silent: // somebody has it, more than ever
		return exitLocked
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, zodb.ErrNotAStorage):
		return exitNoStorage
	case errors.Is(err, zodb.ErrDiskFull), vfs.SaysFull(err):
		return exitFailed // also of a running storage that is asked for a lock then
	case errors.Is(err, zodb.ErrLocked), errors.Is(err, vfs.ErrLocked):
		return exitLocked
	case errors.Is(err, fs.ErrPermission):
		return exitFailed // also where that kept a storage from entering snapshot mode
	case errors.Is(err, zodb.ErrSnapshotMode):
		return exitLocked
	case tellsDamage(err):
		return exitDamage
	}
	return exitFailed
}

// tellsDamage reports whether an error is about damaged data of a storage, or of a backup. A file of a
// newer release may be sound, and one that is no Data.fs was never data; a shortage passes.
func tellsDamage(err error) bool {
	if _, other := errors.AsType[*filestorage.NotAFileStorageError](err); other || backup.IsNewer(err) || vfs.Passes(err) {
		return false
	}
	return isBroken(err) || errors.Is(err, zodb.ErrCorrupt) || errors.Is(err, archive.ErrDamaged) || errors.Is(err, restore.ErrDamage)
}

// ifInterrupted is the annotation of a command for its advice after Ctrl-C: the work done until
// then, and whether it goes on or begins anew when it is run again.
const ifInterrupted = "interrupted"

// interruptible is the annotations of a command that may take long.
func interruptible(text string) map[string]string { return map[string]string{ifInterrupted: text} }

// tell prints the error of a command, and the advice on it. An error that has only a status was
// reported before.
func (e *env) tell(c *cobra.Command, err error) {
	if err == nil {
		return
	}
	if s, ok := errors.AsType[*status](err); !ok || s.err != nil {
		fmt.Fprintf(e.Stderr, "dirstorage: %s\n", errorText(err))
	}
	if text := advice(c, err); text != "" {
		fmt.Fprintf(e.Stderr, "hint: %s\n", text)
	}
}

// interruptedError is why the context of a command ended: Ctrl-C, SIGTERM or SIGHUP.
type interruptedError struct{}

func (interruptedError) Error() string { return "interrupted" }

// Is matches context.Canceled, as the error of the context itself.
func (interruptedError) Is(target error) bool { return target == context.Canceled }

// errorText is the text of an error. Ctrl-C has the word that people know, once.
func errorText(err error) string {
	text := err.Error()
	if !errors.Is(err, context.Canceled) {
		return text
	}
	var lines []string
	seen := make(map[string]bool)
	words := strings.NewReplacer(context.Canceled.Error(), "interrupted", "operation was canceled", "interrupted") // the second is that of package net
	for line := range strings.SplitSeq(words.Replace(text), "\n") {
		if !seen[line] {
			lines = append(lines, line)
		}
		seen[line] = true
	}
	return strings.Join(lines, "\n")
}

// notEmpty adds to the error of opening HOME why none was made there: it is a directory of
// something else.
func notEmpty(home string, err error) error {
	if _, ok := errors.AsType[*settings.NotAHomeError](err); !ok {
		return err
	}
	dir, derr := vfs.OS(home)
	if derr != nil {
		return err
	}
	for entry, derr := range dir.List(".") {
		if derr != nil {
			return err
		}
		if entry.Name != "lost+found" {
			return hint(err, "%s is not empty, it holds %s: give an empty directory, or a name that does not exist yet", home, entry.Name)
		}
	}
	return err
}

// isRefused reports whether an error is the answer of a running storage.
func isRefused(err error) bool {
	_, refused := errors.AsType[*control.RefusedError](err)
	return refused
}

// forbiddenToServer is the advice about a path that the user of the running storage has no right
// to, no matter which user runs the command. "" if the path is not known.
func forbiddenToServer(path string) string {
	if path == "" {
		return ""
	}
	return fmt.Sprintf("the user that the storage runs as has no right to it (it does not matter which user runs this): see ls -ld %s and the directories above it, give that user the right (chmod, chown), and run it again", shellWord(path))
}

// advice is the way out of an error: that of the command, or else the general one.
func advice(c *cobra.Command, err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	if _, newer := errors.AsType[*layout.NewerError](err); newer {
		return fmt.Sprintf("this is dirstorage %s, and nothing was changed; install the release that wrote it, or a later one; docs/upgrade.md has the way back to an older one", buildInfo().Version)
	}
	_, isPath := errors.AsType[*fs.PathError](err)
	named := pathAdvice(c, err)
	switch {
	case errors.Is(err, context.Canceled):
		return c.Annotations[ifInterrupted]
	case errors.Is(err, zodb.ErrDiskFull), vfs.SaysFull(err):
		return "nothing that was acknowledged is lost; make room (df shows bytes, df -i inodes) and run it again"
	case errors.Is(err, zodb.ErrLocked) && errors.Is(err, vfs.ErrLocked):
		if c.Name() == "serve" {
			return "one process at a time has a storage open for writing: end that one first, or wait for its end with --lock-wait"
		}
		return "one process at a time has a storage open for writing: end that one, and run it again"
	case errors.Is(err, zodb.ErrScarce):
		return "nothing that was acknowledged is lost; raise the limit of open files (ulimit -n, LimitNOFILE= of systemd) or free memory, and run it again"
	case vfs.IsReadOnly(err):
		return mountAdvice(err)
	case errors.Is(err, fs.ErrPermission) && giveBack(pathIn(err)) != "":
		return giveBack(pathIn(err))
	case errors.Is(err, fs.ErrPermission) && isRefused(err):
		return forbiddenToServer(pathIn(err))
	case errors.Is(err, fs.ErrPermission) && (isPath || errors.Is(err, control.ErrConnect)) && vfs.IsMine(pathIn(err)):
		return fmt.Sprintf("it belongs to the user that runs this, whom its mode or that of a directory above it keeps out: see ls -ld %s, and chmod u+rwX the path that is not right", shellWord(pathIn(err)))
	case named != "":
		return named
	case errors.Is(err, fs.ErrPermission) && (isPath || errors.Is(err, control.ErrConnect)):
		return "run it as the user to whom the storage belongs, the one that serves it (sudo -u USER dirstorage …)"
	}
	if home, ok := errors.AsType[*settings.NotAHomeError](err); ok {
		return homeAdvice(c, home)
	}
	if _, ok := errors.AsType[*vfs.MissingDirError](err); ok {
		return "make it first (mkdir -p), or look whether the name is right"
	}
	return ""
}

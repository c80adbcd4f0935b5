package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// homeAdvice is the advice about a place at which there is no storage. Where something else is there, arguments may
// be in the wrong order.
func homeAdvice(c *cobra.Command, e *settings.NotAHomeError) string {
	word := shellWord(e.Path)
	if e.Reason == settings.NoSuchDir {
		return fmt.Sprintf("look whether the name is right, and whether a disk is not mounted there; dirstorage create %s makes a new, empty storage", word)
	}
	detail := otherThan(e.Path)
	switch {
	case detail != "":
	case slices.Contains([]string{"import", "convert", "serve"}, c.Name()): // which make one
		detail = "it takes the directory of a storage, one that is empty, or a name that does not exist yet"
	default:
		detail = "HOME is the directory of a storage, with config and A in it"
	}
	if !strings.Contains(c.Use, "HOME") {
		return detail
	}
	return "the form is " + c.UseLine() + "; " + detail
}

// otherThan says what is at a path instead of a storage; "" if that is nothing that is known.
func otherThan(path string) string {
	word := shellWord(path)
	switch {
	case isEmptyDir(path):
		return fmt.Sprintf("%s is empty: look whether a disk is not mounted there; dirstorage create %s makes a storage of it", path, word)
	case holdsBackups(path):
		return fmt.Sprintf("%s has backups: dirstorage restore %s TARGET makes a storage of them", path, word)
	}
	dir, base, err := vfs.Split(path)
	if err != nil {
		return ""
	}
	if r, err := filestorage.Open(dir, base); err == nil && r.Close() == nil && r.Size() > 0 {
		return fmt.Sprintf("%s is a Data.fs: dirstorage import %s HOME copies it into a storage", path, word)
	}
	return ""
}

func isEmptyDir(dir string) bool {
	f, err := vfs.OS(dir)
	if err != nil {
		return false
	}
	for entry, err := range f.List(".") {
		if err != nil || entry.Name != "lost+found" {
			return false
		}
	}
	return true
}

// holdsBackups reports whether the names in a directory are those of a repository.
func holdsBackups(dir string) bool {
	f, err := vfs.OS(dir)
	if err != nil {
		return false
	}
	for entry, err := range f.List(".") {
		if err != nil {
			return false
		}
		if strings.HasSuffix(entry.Name, "-full.json") {
			return true
		}
	}
	return false
}

// given is a path that the caller of a command has named.
type given struct {
	as   string // the flag, with its dashes, or the name of the argument in the form
	path string
}

// isPath reports whether a flag names files or directories.
func isPath(f *pflag.Flag) bool {
	name, _ := pflag.UnquoteUsage(f)
	return slices.Contains([]string{"FILE", "DIR", "PATH"}, name)
}

// givenPaths are the paths in the arguments and flags of a command.
func givenPaths(c *cobra.Command) (list []given) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if isPath(f) {
			list = append(list, given{"--" + f.Name, f.Value.String()})
		}
	})
	var form argumentForm
	for _, f := range argumentForms(c) {
		if form == nil || f.needed() <= c.Flags().NArg() {
			form = f
		}
	}
	for i, arg := range c.Flags().Args() {
		name := ""
		if i < len(form) {
			name = form[i].name
		}
		list = append(list, given{name, arg})
	}
	return list
}

// is reports whether a path is the one that was given, perhaps by way of symbolic links.
func (g given) is(path string) bool { return slices.Contains(g.names(), path) }

// above reports whether a path is the given one, or below that.
func (g given) above(path string) bool {
	return slices.ContainsFunc(g.names(), func(name string) bool { return name == path || strings.HasPrefix(path, name+"/") })
}

// beside reports whether a path is that of a file which becomes the given one when it is whole.
func (g given) beside(path string) bool {
	return slices.ContainsFunc(g.names(), func(name string) bool {
		return filepath.Dir(name) == filepath.Dir(path) && strings.Contains(filepath.Base(path), filepath.Base(name))
	})
}

func (g given) names() []string {
	dir, base, err := vfs.Split(g.path)
	if err != nil {
		return nil
	}
	names := []string{dir.Path(base)}
	if abs, err := filepath.Abs(g.path); err == nil {
		names = append(names, abs)
	}
	if self, err := vfs.OS(g.path); err == nil {
		names = append(names, self.Path("."))
	}
	return names
}

// called names the place of a path in the call of a command.
func (g given) called() string {
	if strings.HasPrefix(g.as, "--") {
		return g.as
	}
	return "the name"
}

// ofStorage reports whether a path is that of a HOME, or in one.
func (g given) ofStorage() bool { return strings.HasPrefix(g.as, "HOME") }

// pathAdvice is the advice about a path that the caller has named, and that is missing, of the wrong kind, or
// not for this user. "" if the error is about something else.
func pathAdvice(c *cobra.Command, err error) string {
	path := pathIn(err)
	if path == "" {
		return ""
	}
	all := givenPaths(c)
	find := func(fits func(given) bool) (given, bool) {
		if i := slices.IndexFunc(all, fits); i >= 0 {
			return all[i], true
		}
		return given{}, false
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		if g, ok := find(func(g given) bool { return !g.ofStorage() && (g.above(path) || g.beside(path)) }); ok && homeAround(path) == "" {
			return noRight(g, path)
		}
	case errors.Is(err, syscall.EISDIR):
		if g, ok := find(func(g given) bool { return g.is(path) }); ok {
			return fmt.Sprintf("it is a directory: %s has to be that of a file", g.called())
		}
	case errors.Is(err, syscall.ENOTDIR):
		if g, ok := find(func(g given) bool { return g.above(path) || (given{path: path}).above(g.names()[0]) }); ok {
			return notADirectory(g)
		}
	case errors.Is(err, fs.ErrNotExist):
		if g, ok := find(func(g given) bool { return g.is(path) }); ok {
			return fmt.Sprintf("look whether %s is right", g.called()) + relativeTo(g.path)
		}
		if c.Name() == "serve" && homeAround(path) == "" {
			return "look whether the name is right; dirstorage config, with the same flags, shows the place of each setting"
		}
	}
	return ""
}

// noRight is the advice about a path that belongs to another user, or is to be made where this one may not.
func noRight(g given, path string) string {
	if dir, base, err := vfs.Split(path); err == nil {
		if _, err := dir.Stat(base); errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf("this user may not make files in %[1]s: run it as the user to whom that belongs (sudo -u USER dirstorage …), or give another place; see ls -ld %[2]s", dir.Path("."), shellWord(dir.Path(".")))
		}
	}
	what, owned := "that path", "it belongs"
	switch {
	case g.as == "REPO":
		what, owned = "the backups", "the backups belong"
	case strings.HasPrefix(g.as, "--"):
		what = "the path of " + g.as
	}
	return fmt.Sprintf("this user has no right to %s: run it as the user to whom %s (sudo -u USER dirstorage …), or give this one the right (chgrp, chmod); see ls -ld %s and the directories above it", what, owned, shellWord(path))
}

// notADirectory is the advice about a file, or a path below one, in the place of a directory.
func notADirectory(g given) string {
	dir, base, err := vfs.Split(g.path)
	if err != nil {
		return ""
	}
	if _, err := dir.Stat(base); err != nil {
		return "one of the directories above it is a file: look whether " + g.called() + " is right" + relativeTo(g.path)
	}
	return fmt.Sprintf("%s is a file: %s has to be that of a directory", g.path, g.called())
}

// relativeTo says to which directory a path is relative.
func relativeTo(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil || filepath.IsAbs(path) {
		return ""
	}
	return "; it stands for " + abs
}

package salvage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// asideDir is where files are written before they get their name in A, which
// never holds a temporary file.
const asideDir = "misc"

// Apply carries out a plan: the actions Place and Make, in the order given. Each
// file is whole and durable before it gets its name, and a name that
// meanwhile exists is an error that matches fs.ErrExist. When Apply fails or is interrupted,
// finished actions stay, and a new plan goes on from there; its Apply makes durable what they have done. The files belong to old transactions,
// which copies of the home have without them: note is told before the first one, with true, and after
// the last. If it fails nothing more is done. stamp is the time that each file bears: it is not
// before the floor of time stamps, or a copy of files that are newer than a snapshot would miss it.
func Apply(ctx context.Context, lost, home vfs.FS, actions []Action, stamp time.Time, note func(running bool) error) error {
	dirs := dirsOf(actions)
	if !slices.ContainsFunc(actions, changes) {
		return errors.Join(ctx.Err(), syncDirs(home, dirs))
	}
	if _, err := vfs.MkdirAll(home, asideDir); err != nil {
		return err
	}
	if err := note(true); err != nil {
		return err
	}
	for _, a := range actions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !changes(a) {
			continue
		}
		if err := put(ctx, lost, home, a, stamp); err != nil {
			return fmt.Errorf("put %s into its place: %w", a.To, err)
		}
	}
	if err := syncDirs(home, dirs); err != nil {
		return err
	}
	return note(false)
}

// dirsOf returns the directories in which the names of files have to be durable, and those above them. Files and
// directories that are there already may be those of a salvage that was killed.
func dirsOf(actions []Action) map[string]struct{} {
	dirs := make(map[string]struct{})
	for _, a := range actions {
		if there := a.Verb == Duplicate || a.Verb == Conflict; a.To == "" || !there && !changes(a) {
			continue
		}
		for dir := path.Dir(a.To); ; dir = path.Dir(dir) {
			if _, known := dirs[dir]; known {
				break
			}
			dirs[dir] = struct{}{}
			if dir == "." {
				break
			}
		}
	}
	return dirs
}

func syncDirs(home vfs.FS, dirs map[string]struct{}) error {
	for dir := range dirs {
		// Where another lost file claims the same place, nothing may be there.
		if err := ignoreMissing(home.SyncDir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// changes reports whether an action puts a file into the home.
func changes(a Action) bool { return a.Verb == Place || a.Verb == Make }

// put writes one file aside and gives it its name.
func put(ctx context.Context, lost, home vfs.FS, a Action, stamp time.Time) error {
	if _, err := vfs.MkdirAll(home, path.Dir(a.To)); err != nil {
		return err
	}
	aside := asideDir + "/salvage-" + rand.Text()
	if err := write(ctx, lost, home, a, stamp, aside); err != nil {
		return errors.Join(err, ignoreMissing(home.Remove(aside)))
	}
	// Link, unlike rename, never replaces a file.
	return errors.Join(home.Link(aside, a.To), home.Remove(aside))
}

func write(ctx context.Context, lost, home vfs.FS, a Action, stamp time.Time, aside string) (err error) {
	out, err := home.Create(aside)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	switch {
	case a.Write != nil:
		err = a.Write(ctx, out)
	case a.Verb == Make:
		_, err = out.Write(a.Data)
	default:
		err = copyFile(lost, a.From, out)
	}
	if err == nil {
		err = home.SetModTime(aside, stamp)
	}
	if err != nil {
		return err
	}
	return out.Sync()
}

func copyFile(lost vfs.FS, name string, out io.Writer) (err error) {
	in, err := lost.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

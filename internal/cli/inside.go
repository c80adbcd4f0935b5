package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// notInside returns an error if something that a command is to make lies within one of the
// directories that a storage has for itself.
func notInside(name string) error {
	above, base, err := vfs.Split(name)
	for err == nil {
		dir := above.Path(".")
		if slices.Contains([]string{string(store.A), string(store.B), "config", "journal", "misc"}, base) {
			if _, err := above.Stat("config/settings"); err == nil {
				return usage("%s is within %s of the storage %s, which is for its own files alone; choose another place", name, base, dir)
			}
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
		above, base, err = vfs.Split(dir)
	}
	return err
}

// createHome makes a storage.
func createHome(home string, o engine.CreateOptions) error {
	if err := notInside(home); err != nil {
		return err
	}
	err := engine.Create(home, o)
	if errors.Is(err, fs.ErrPermission) && !exists(home) {
		return hint(err, "this user may not make a directory there: run it as another user, or make one for this user, as root: install -d -o %d -m 750 %s", os.Geteuid(), shellWord(home))
	}
	return err
}

// createVacant is createHome for a place that was vacant a moment ago.
func createVacant(home string, o engine.CreateOptions) error {
	err := createHome(home, o)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if vacant, verr := engine.Vacant(home); verr == nil && !vacant {
		return &status{code: exitLocked, err: hint(err, "another process has made it meanwhile: run it again when that one has ended")}
	}
	return err
}

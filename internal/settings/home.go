package settings

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// NoSuchDir is the reason of a NotAHomeError about a path at which there is nothing.
const NoSuchDir = "does not exist"

// NotAHomeError says why there is no storage at a path.
type NotAHomeError struct {
	Path   string
	Reason string // "does not exist", "is a file, not a directory", "has no config/settings"
}

func (e *NotAHomeError) Error() string {
	return zodb.ErrNotAStorage.Error() + ": " + e.Path + " " + e.Reason
}

// Is matches ErrNotAHome.
func (e *NotAHomeError) Is(target error) bool { return target == zodb.ErrNotAStorage }

// NotAHome judges the error of reading a file of config: it returns a *NotAHomeError if
// that says that there is no storage at home, and err otherwise. Without the permission
// to look, nobody knows whether there is one.
func NotAHome(home vfs.FS, name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	reason := "has no " + name
	switch info, serr := home.Stat("."); {
	case errors.Is(serr, fs.ErrNotExist):
		reason = NoSuchDir
	case errors.Is(serr, syscall.ENOTDIR):
		reason = "is below a file"
	case serr != nil:
		return serr
	case !info.IsDir():
		reason = "is a file, not a directory"
	}
	return &NotAHomeError{Path: home.Path("."), Reason: reason}
}

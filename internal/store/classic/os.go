package classic

import (
	"errors"
	"io/fs"
	"syscall"
)

// notEmpty reports whether a directory could not be removed because there is
// something in it. POSIX lets a system say either.
func notEmpty(err error) bool {
	return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) || errors.Is(err, fs.ErrExist)
}

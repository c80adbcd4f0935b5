package bundled

import (
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Size returns the bytes of all bundles and lists of removed members of a HOME, those included that were
// replaced and not yet removed. Another process may write there meanwhile.
func Size(f vfs.FS) (sum int64, err error) {
	err = eachSize(f, func(size int64) { sum += size })
	return sum, err
}

// Largest returns the bytes of the largest bundle: as many are taken, at most, before a rewriting gives any
// back.
func Largest(f vfs.FS) (largest int64, err error) {
	err = eachSize(f, func(size int64) { largest = max(largest, size) })
	return largest, err
}

func eachSize(f vfs.FS, use func(size int64)) error {
	for _, side := range []store.Side{store.A, store.B} {
		for name, err := range vfs.Walk(f, dirOf(side)) {
			var info vfs.Info
			if err == nil {
				info, err = f.Stat(name)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue // there is none yet, or it was merged meanwhile
			}
			if err != nil {
				return err
			}
			use(info.Size)
		}
	}
	return nil
}

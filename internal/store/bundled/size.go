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
				return 0, err
			}
			sum += info.Size
		}
	}
	return sum, nil
}

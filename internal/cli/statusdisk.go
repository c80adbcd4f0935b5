package cli

import (
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// estimateDisk says about how much room a storage takes up on the disk; empty: nobody knows. Bundles
// are few, and have a size.
func (st *homeStatus) estimateDisk() string {
	if !st.Counts.Exact {
		return ""
	}
	if st.Format != layout.Bundled.String() {
		return human.Bytes(st.Counts.EstimateDisk()) + ", and files that packs have put aside"
	}
	f, err := vfs.OS(st.Home)
	if err != nil {
		return ""
	}
	sum := st.Counts.BlobBytes
	for _, dir := range []string{"A/bundles", "B/bundles"} {
		for name, err := range vfs.Walk(f, dir) {
			var info vfs.Info
			if err == nil {
				info, err = f.Stat(name)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue // there is none yet, or it was merged meanwhile
			}
			if err != nil {
				return ""
			}
			sum += info.Size
		}
	}
	return human.Bytes(sum) + ", with what packs have put aside"
}

package cli

import (
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// estimateDisk says about how much room a storage takes up on the disk; empty: nobody knows. Bundles
// are few, and have a size.
func (st *homeStatus) estimateDisk() string {
	if !st.Counts.Exact {
		return ""
	}
	f, err := vfs.OS(st.Home)
	if err != nil {
		return ""
	}
	switch size, known, err := formats.Size(f, layout.Format(st.Format)); {
	case err != nil:
		return ""
	case known:
		return human.Bytes(size+st.Counts.BlobBytes) + ", with files put aside by packs"
	}
	return human.Bytes(st.Counts.EstimateDisk()) + ", and files that packs have put aside"
}

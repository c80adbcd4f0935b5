package classic

import (
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
)

// Empty returns the files of a database without a transaction, all of them in A.
func Empty(format layout.Format) []store.File {
	var files []store.File
	for _, n := range []layout.Name{layout.XOID, layout.XSerial, layout.XPacked} {
		files = append(files, store.File{Path: string(store.A) + "/" + format.Path(n), Content: record.AppendX(nil, 0)})
	}
	return files
}

// OfEmpty reports whether a path is one of those of Empty, in any format.
func OfEmpty(path string) bool {
	return slices.ContainsFunc(layout.Formats(), func(format layout.Format) bool {
		return slices.ContainsFunc(Empty(format), func(f store.File) bool { return f.Path == path })
	})
}

package classic

import (
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
)

// File is an ordinary file, by its path relative to HOME.
type File struct {
	Path    string
	Content []byte
}

// Empty returns the files of a database without a transaction, all of them in A.
func Empty(format layout.Format) []File {
	var files []File
	for _, n := range []layout.Name{layout.XOID, layout.XSerial, layout.XPacked} {
		files = append(files, File{string(store.A) + "/" + format.Path(n), record.AppendX(nil, 0)})
	}
	return files
}

// OfEmpty reports whether a path is one of those of Empty, in any format.
func OfEmpty(path string) bool {
	return slices.ContainsFunc(layout.Formats(), func(format layout.Format) bool {
		return slices.ContainsFunc(Empty(format), func(f File) bool { return f.Path == path })
	})
}

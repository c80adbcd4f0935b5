package vfs

import (
	"iter"
	"path"
)

// Names returns a function that yields the names in directories below one.
func Names(fsys FS, above string) func(dir string) iter.Seq2[string, error] {
	return func(dir string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for e, err := range fsys.List(path.Join(above, dir)) {
				if !yield(e.Name, err) {
					return
				}
			}
		}
	}
}

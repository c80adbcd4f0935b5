package engine

import (
	"cmp"
	"context"
	"io/fs"
	"slices"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// DiskUse is the disk space of the files of a HOME, blocks and not lengths.
// Directories count, too.
type DiskUse struct {
	Files int64 `json:"files"` // and directories
	Bytes int64 `json:"bytes"`
	// Parts are the directories of HOME, in alphabetical order. A file in HOME itself is in none.
	Parts []DiskPart `json:"parts"`
	// Removed is the space of the removals of packs. It is in Bytes and in the part A.
	zodb.Removed
}

// DiskPart is one directory of HOME.
type DiskPart struct {
	Name  string `json:"name"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

// DiskUse looks at every file in HOME, so it takes a while. It may run beside writers;
// files that are removed meanwhile are passed over.
func (s *Storage) DiskUse(ctx context.Context) (DiskUse, error) {
	space, err := s.store.Space(ctx)
	if err != nil {
		return DiskUse{}, err
	}
	var total DiskUse
	for e, err := range s.home.FS.List(".") {
		if err != nil {
			return DiskUse{}, err
		}
		part := DiskPart{Name: e.Name}
		side, dir := space.Sides[store.Side(e.Name)]
		if part.Files, part.Bytes = side.Files, side.Bytes; !dir {
			if dir, err = measure(ctx, s.home.FS, &part); err != nil {
				return DiskUse{}, err
			}
		}
		total.Files += part.Files
		total.Bytes += part.Bytes
		if dir {
			total.Parts = append(total.Parts, part)
		}
	}
	slices.SortFunc(total.Parts, func(a, b DiskPart) int { return cmp.Compare(a.Name, b.Name) })
	total.Removed = *space.Removed.Public(space.Inside, s.home.Settings.Storage.DelayDelete)
	return total, nil
}

// measure adds up a part that is none of the store's, and reports whether it is a directory, or
// a symbolic link that stands for one of those of a storage.
func measure(ctx context.Context, f vfs.FS, part *DiskPart) (dir bool, err error) {
	err = vfs.Measure(f, part.Name, formats.IsDirectory(part.Name), func(name string, bytes int64, isDir bool) error {
		part.Files++
		part.Bytes += bytes
		if name == part.Name {
			dir = isDir
		}
		if name == lostAndFound {
			return fs.SkipDir
		}
		return ctx.Err()
	})
	return dir, err
}

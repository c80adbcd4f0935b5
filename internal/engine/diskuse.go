package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// DiskUse is what the files of a HOME take up on the disk, blocks and not lengths.
// Directories count, too.
type DiskUse struct {
	Files int64 `json:"files"` // and directories
	Bytes int64 `json:"bytes"`
	// Parts are the directories of HOME, in alphabetical order. A file in HOME itself is in none.
	Parts []DiskPart `json:"parts"`
	// Aside is what packs have put aside, the oldest first. It is in Bytes and in the part A.
	Aside []DiskAside `json:"aside,omitempty"`
}

// DiskPart is one directory of HOME.
type DiskPart struct {
	Name  string `json:"name"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

// DiskAside is what one pack has put aside.
type DiskAside struct {
	Stamp int64 `json:"stamp"` // SECONDS of pack --undelete
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Until is when delay_delete has passed; the first pack after it frees the space.
	Until time.Time `json:"until"`
}

// DiskUse looks at every file in HOME, so it takes a while. It may run beside writers;
// what is removed meanwhile is passed over.
func (s *Storage) DiskUse(ctx context.Context) (DiskUse, error) {
	u := &diskUse{s: s, aside: make(map[int64]*DiskAside)}
	for e, err := range s.home.FS.List(".") {
		if err != nil {
			return DiskUse{}, err
		}
		part, dir := DiskPart{Name: e.Name}, e.IsDir() || leadsToPart(s.home.FS, e)
		if err := u.add(ctx, &part, e.Name, dir); err != nil {
			return DiskUse{}, err
		}
		u.total.Files += part.Files
		u.total.Bytes += part.Bytes
		if dir {
			u.total.Parts = append(u.total.Parts, part)
		}
	}
	slices.SortFunc(u.total.Parts, func(a, b DiskPart) int { return cmp.Compare(a.Name, b.Name) })
	for _, a := range u.aside {
		u.total.Aside = append(u.total.Aside, *a)
	}
	slices.SortFunc(u.total.Aside, func(a, b DiskAside) int { return cmp.Compare(a.Stamp, b.Stamp) })
	return u.total, nil
}

// leadsToPart reports whether an entry of HOME is a symbolic link that stands for one of the
// directories of a storage.
func leadsToPart(f vfs.FS, e vfs.Entry) bool {
	if e.Type&fs.ModeSymlink == 0 || !storeDirectory(e.Name) {
		return false
	}
	for _, err := range f.List(e.Name) {
		return err == nil
	}
	return true
}

type diskUse struct {
	s     *Storage
	total DiskUse
	aside map[int64]*DiskAside
}

// add adds a file, or a directory with what is in it.
func (u *diskUse) add(ctx context.Context, part *DiskPart, name string, dir bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := u.s.home.FS.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	bytes := info.Disk
	if bytes < 0 {
		bytes = (info.Size + state.DiskBlock - 1) / state.DiskBlock * state.DiskBlock
	}
	part.Files++
	part.Bytes += bytes
	if !dir {
		u.setAside(name, bytes)
		return nil
	}
	if name == lostAndFound {
		return nil
	}
	for e, err := range u.s.home.FS.List(name) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = u.add(ctx, part, path.Join(name, e.Name), e.IsDir())
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", name, err)
		}
	}
	return nil
}

// setAside notes a file that a pack put aside.
func (u *diskUse) setAside(name string, bytes int64) {
	stamp, ok := u.s.store.AsideOf(name)
	if !ok {
		return
	}
	a := u.aside[stamp]
	if a == nil {
		a = &DiskAside{Stamp: stamp, Until: time.Unix(stamp, 0).Add(u.s.home.Settings.Storage.DelayDelete).UTC()}
		u.aside[stamp] = a
	}
	a.Files++
	a.Bytes += bytes
}

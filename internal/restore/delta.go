package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// link gives the HOME the files of the old copy that have the content which the
// index of the backup says, and returns the parts of the archive that hold the
// rest.
func (u *unpacking) link(ctx context.Context) ([]backup.Range, error) {
	u.need = make(map[int64]struct{})
	needed := make([]bool, len(u.frames))
	var mu sync.Mutex
	var linked atomic.Int64
	for line, err := range u.r.o.Repository.ReadIndex(ctx, u.m) {
		if err != nil {
			return nil, errors.Join(err, u.w.drain())
		}
		e := line.Entry
		if e == nil || e.Dir || u.superseded[e.Name] || strings.HasPrefix(e.Name, "config/") && !u.last {
			continue
		}
		err := u.w.do(func() error {
			same, err := u.linkOne(e)
			if err != nil {
				return err
			}
			if same {
				linked.Add(1)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			u.need[e.At] = struct{}{}
			after := sort.Search(len(u.frames), func(i int) bool { return u.frames[i].At > e.At })
			needed[max(0, after-1)] = true
			return nil
		})
		if err != nil {
			return nil, errors.Join(err, u.w.drain())
		}
	}
	err := u.w.drain()
	u.r.result.Linked += linked.Load()
	return u.ranges(needed), err
}

// ranges joins frames that follow each other.
func (u *unpacking) ranges(needed []bool) []backup.Range {
	var list []backup.Range
	for i := 0; i < len(needed); i++ {
		if !needed[i] {
			continue
		}
		part := backup.Range{From: u.frames[i]}
		for i+1 < len(needed) && needed[i+1] {
			i++
		}
		if i+1 < len(needed) {
			part.Until = u.frames[i+1].At
		}
		list = append(list, part)
	}
	return list
}

// linkOne links a file, if it is the same in the old copy.
func (u *unpacking) linkOne(e *archive.Entry) (bool, error) {
	info, err := u.r.old.Stat(e.Name)
	if err != nil || !info.Mode.IsRegular() || info.Size != e.Size {
		return false, nil // then it is unpacked
	}
	if u.relinked(e) {
		return false, nil
	}
	same, err := sameContent(u.r.old, e)
	if err != nil || !same {
		return false, nil // one that can't be read is as good as none
	}
	from, to := path.Join(u.r.o.Name, e.Name), path.Join(u.r.work, e.Name)
	p := u.r.o.Parent
	err = p.Link(from, to)
	if errors.Is(err, fs.ErrExist) {
		if err = p.Remove(to); err == nil {
			err = p.Link(from, to)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = vfs.MkdirAll(p, path.Dir(to)); err == nil {
			err = p.Link(from, to)
		}
	}
	return err == nil, err
}

// relinked reports whether the file of a transaction must not be taken as the
// index has it, because it has to name another one before it.
func (u *unpacking) relinked(e *archive.Entry) bool {
	if u.after == 0 || !u.r.copies.Describe(e.Name).Linked {
		return false
	}
	b, err := u.r.old.ReadFile(e.Name)
	if err != nil {
		return true
	}
	before := string(b)
	return string(u.r.copies.Over(e.Name, b, u.after)) != before
}

func sameContent(f vfs.FS, e *archive.Entry) (same bool, err error) {
	file, err := f.Open(e.Name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return false, err
	}
	return archive.Sum(h.Sum(nil)) == e.Sum, nil
}

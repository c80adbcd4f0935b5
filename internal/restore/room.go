package restore

import (
	"context"
	"path"
	"strings"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// roomBlock is the room in bytes of the smallest file on most file systems.
const roomBlock = 4096

// Room estimates the room that [Run] takes up, beside the files of an interrupted one, by the manifests of the
// backups and their indexes. With Delta it is 0: nobody knows in advance which files are
// the same. Nothing is changed.
func Room(ctx context.Context, o Options) (transfer.Room, error) {
	if o.Delta {
		return transfer.Room{}, nil
	}
	last := o.Plan.Chain[len(o.Plan.Chain)-1]
	of := layout.Format(last.Format)
	r := &run{o: o, copies: formats.Copies(of), state: state{Cut: o.Plan.Cut}}
	var room transfer.Room
	var held zodb.Counts
	for i, m := range o.Plan.Chain {
		held.Bytes += m.Bytes
		held.Objects = max(held.Objects, m.Counts.Objects)
		held.Revisions += m.Counts.Revisions
		held.Transactions += m.Counts.Transactions
		var part transfer.Room
		if m.Original() { // which has no index
			files := m.Counts.Entries
			part = transfer.Room{Bytes: max(files*roomBlock, m.Bytes+files*roomBlock/2), Inodes: files}
		} else if err := r.addFiles(ctx, i, &part); err != nil {
			return room, err
		}
		room.Bytes += part.Bytes
		room.Inodes += part.Inodes
	}
	if o.Format != "" && o.Format != of {
		made := transfer.RoomOfCounts(held, o.Format == layout.Bundled)
		room.Bytes += made.Bytes
		room.Inodes += made.Inodes
	}
	there, err := r.interrupted()
	return room.Without(there), err
}

// addFiles adds the files that the HOME gets from a backup, and the directories of a full one. One upon it adds one
// directory a file at most, as most are there.
func (r *run) addFiles(ctx context.Context, i int, room *transfer.Room) error {
	superseded, err := r.superseded(i)
	if err != nil {
		return err
	}
	before := ""
	for line, err := range r.o.Repository.ReadIndex(ctx, r.o.Plan.Chain[i]) {
		if err != nil {
			return err
		}
		e := line.Entry
		if e == nil || superseded[e.Name] {
			continue
		}
		inodes := int64(1)
		if dir := path.Dir(e.Name); dir != before {
			fresh := freshDirs(before, dir)
			if i > 0 {
				fresh = min(fresh, 1)
			}
			inodes += fresh
			before = dir
		}
		room.Inodes += inodes
		room.Bytes += (e.Size+roomBlock-1)/roomBlock*roomBlock + (inodes-1)*roomBlock
	}
	return nil
}

// freshDirs is the number of directories on the way to one that are not on the way to another one.
func freshDirs(before, dir string) int64 {
	same := 0
	for k := range min(len(before), len(dir)) {
		if before[k] != dir[k] {
			break
		}
		if dir[k] == '/' {
			same = k + 1
		}
	}
	if strings.HasPrefix(dir, before+"/") {
		same = len(before) + 1
	}
	return int64(strings.Count(dir[min(same, len(dir)):], "/")) + 1
}

// interrupted is the room that the files of an earlier restore take up. They are used again, or removed.
func (r *run) interrupted() (there transfer.Room, err error) {
	for _, name := range []string{r.o.Name + ".restoring", r.o.Name + "/" + within} {
		err := vfs.Measure(r.o.Parent, name, false, func(_ string, bytes int64, _ bool) error {
			there.Bytes += bytes
			there.Inodes++
			return nil
		})
		if err != nil {
			return there, err
		}
	}
	return there, nil
}

// fullError says that a disk became full. The work is kept: it matches errAgain.
type fullError struct{ err error }

func (e *fullError) Error() string { return e.err.Error() }

// Unwrap returns the cause and errAgain.
func (e *fullError) Unwrap() []error { return []error{e.err, errAgain} }

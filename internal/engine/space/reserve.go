package space

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// ReserveFile takes up space that is given up when a full disk would keep a storage from
// being opened or packed. It holds nothing and does not belong to the database.
const ReserveFile = "misc/reserve"

// The part of a file system below which space or inodes are low in any case, and the
// number of inodes below which they are not low on a larger one.
const (
	lowPart   = 10
	lowInodes = 100_000
)

// lowSpace names the resource that is low on a file system, if one is.
func lowSpace(sp vfs.Space, limit int64) string {
	switch {
	case limit <= 0 || sp.TotalBytes == 0:
	case LowBytes(sp, limit):
		return fmt.Sprintf("%s of %s are free on the file system of HOME", human.Bytes(int64(sp.FreeBytes)), human.Bytes(int64(sp.TotalBytes)))
	case LowInodes(sp):
		return fmt.Sprintf("%s of %s are free on the file system of HOME", human.Count(int64(sp.FreeInodes)), human.Number(int64(sp.TotalInodes), "inode"))
	}
	return ""
}

// LowBytes reports whether fewer bytes are free than limit, or than a tenth of the file system, whichever
// is less.
func LowBytes(sp vfs.Space, limit int64) bool {
	return sp.FreeBytes < min(uint64(max(limit, 0)), sp.TotalBytes/lowPart)
}

// LowInodes is the same for inodes, where a file system has a limit of them.
func LowInodes(sp vfs.Space) bool { return sp.FreeInodes < min(lowInodes, sp.TotalInodes/lowPart) }

// watched reports whether somebody looks at the free space.
func (w *Watch) watched() bool { return w.o.LowSpace > 0 || w.o.Reserve > 0 }

// Look looks at the free space now and then, if it is time to, warns once when it gets low, and
// makes the reserve again when there is room.
func (w *Watch) Look() {
	now := w.o.Clock()
	if !w.watched() || now.Before(w.next) {
		return
	}
	sp, err := w.o.FS.Space()
	if err != nil {
		w.next = now.Add(10 * w.o.RetryInterval)
		return // not known is not low
	}
	low := lowSpace(sp, w.o.LowSpace)
	if low != "" || sp.FreeBytes < 2*uint64(w.o.Reserve) {
		// Without a new transaction the log would keep the recovered ones, and without
		// room none comes. An error changes nothing, and it is tried again.
		if err := w.journal.GiveUpFound(); err != nil {
			w.o.Log.Debug("the log cannot be given back yet", "err", err)
		} else if now, err := w.o.FS.Space(); err == nil {
			sp = now
		}
	}
	reserve := w.o.reserveOn(sp)
	if sp.FreeBytes < 4*uint64(reserve) && !w.HasReserve(reserve) {
		if err := w.journal.DropSpares(); err != nil {
			w.o.Log.Debug("the log keeps files that it does not need", "err", err)
		} else if now, err := w.o.FS.Space(); err == nil {
			sp = now
		}
	}
	refuse := reserve > 0 && !w.makeReserve(sp, reserve) && sp.FreeBytes < 2*uint64(reserve)
	w.Room()
	wasLow, refused := w.o.State.SetSpace(low, refuse)
	if low != "" && wasLow == "" {
		w.o.Log.Warn("space is getting low", "free", low)
	}
	if low == "" && wasLow != "" {
		w.o.Log.Info("there is space again")
	}
	if refuse && !refused {
		w.o.Log.Warn("disk full: commits are refused until there is room for a reserve", "free", human.Bytes(int64(sp.FreeBytes)), "path", ReserveFile)
	}
	if !refuse && refused {
		w.o.Log.Info("there is room for a reserve again: commits are taken")
	}
	w.next = now.Add(10 * w.o.RetryInterval)
	if refuse { // writers wait for the next look
		w.next = now.Add(w.o.RetryInterval)
	}
}

// reserveOn is how large the reserve is on a file system: of a small one it takes a part,
// or else nothing could ever be committed there.
func (o *Config) reserveOn(sp vfs.Space) int64 {
	if sp.TotalBytes == 0 { // not known
		return o.Reserve
	}
	return min(o.Reserve, int64(sp.TotalBytes/lowPart))
}

// HasReserve reports whether the reserve is there, as large as it should be.
func (w *Watch) HasReserve(size int64) bool {
	info, err := w.o.FS.Stat(ReserveFile)
	return err == nil && info.Size >= size
}

// makeReserve reports whether the reserve is there, and makes it if there is room.
func (w *Watch) makeReserve(sp vfs.Space, size int64) bool {
	if w.HasReserve(size) {
		return true
	}
	err := w.o.FS.Remove(ReserveFile) // of an earlier setting, or half made
	if err != nil && !errors.Is(err, fs.ErrNotExist) || sp.FreeBytes < 4*uint64(size) {
		return false
	}
	f, err := w.o.FS.Create(ReserveFile)
	if err != nil {
		return false
	}
	if err := errors.Join(f.Allocate(size), f.Close()); err != nil {
		_ = w.o.FS.Remove(ReserveFile) // it is tried again
		return false
	}
	return true
}

// Keep makes the reserve of a HOME that nobody watches yet, if there is room.
func Keep(f vfs.FS, size int64) {
	sp, err := f.Space()
	if err != nil || size <= 0 {
		return // not known is not kept
	}
	w := Watch{o: Config{FS: f, Reserve: size}}
	w.makeReserve(sp, w.o.reserveOn(sp))
}

// GiveUpReserve frees the space of the reserve, if it is there. From then on commits are
// refused until there is room again: the freed space is for the one that makes room.
func GiveUpReserve(f vfs.FS) bool { return f.Remove(ReserveFile) == nil }

// ForSnapshot is how much has to be free for a snapshot, if the reserve is to be kept.
const ForSnapshot = 1 << 20

// TakesReserve reports whether [Watch.MakeRoom] would give up the reserve, and so little is free that it is
// not made again at once.
func (w *Watch) TakesReserve(room uint64) bool {
	info, err := w.o.FS.Stat(ReserveFile)
	if err != nil {
		return false
	}
	sp, err := w.o.FS.Space()
	return err == nil && (sp.FreeBytes < room || w.o.State.NeedsRoom(w.Room())) && sp.FreeBytes < 4*uint64(info.Size)
}

// MakeRoom gives up the reserve for a caller that makes room, or saves the data, if less
// than room bytes are free, or a full disk keeps the flush from going on.
func (w *Watch) MakeRoom(room uint64) {
	free := w.Room()
	stuck := w.o.State.NeedsRoom(free)
	sp, err := w.o.FS.Space()
	if err != nil || sp.FreeBytes >= room && !stuck || !GiveUpReserve(w.o.FS) {
		return
	}
	w.o.Log.Warn("disk full: the reserve is given up for a pack or a snapshot; commits are refused until there is room", "path", ReserveFile)
	w.o.State.RefuseCommits()
	w.o.State.Wake()
}

package engine

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// reserveFile takes up space that is given up when a full disk would keep a storage
// from being opened or packed. It holds nothing and is no part of the database.
const reserveFile = "misc/reserve"

// The part of a file system below which space or inodes are low in any case, and the
// number of inodes below which they are not low on a larger one.
const (
	lowPart   = 10
	lowInodes = 100_000
)

// lowSpace says what is low on a file system, if something is: less than limit bytes
// or than a tenth of it, whichever is less, and inodes alike.
func lowSpace(sp vfs.Space, limit int64) string {
	switch {
	case limit <= 0 || sp.TotalBytes == 0:
	case sp.FreeBytes < min(uint64(limit), sp.TotalBytes/lowPart):
		return fmt.Sprintf("%s of %s are free on the file system of HOME", human.Bytes(int64(sp.FreeBytes)), human.Bytes(int64(sp.TotalBytes)))
	case sp.FreeInodes < min(lowInodes, sp.TotalInodes/lowPart):
		return fmt.Sprintf("%s of %s inodes are free on the file system of HOME", human.Count(int64(sp.FreeInodes)), human.Count(int64(sp.TotalInodes)))
	}
	return ""
}

// watched reports whether somebody looks at the free space.
func (o *Options) watched() bool { return o.LowSpace > 0 || o.Reserve > 0 }

// watchSpace looks at the free space now and then, warns once when it gets low, and
// makes the reserve again when there is room.
func (w *worker) watchSpace(s *Storage) {
	now := s.o.Clock()
	if !s.o.watched() || now.Before(w.lookAt) {
		return
	}
	sp, err := s.fs.Space()
	if err != nil {
		w.lookAt = now.Add(10 * s.o.RetryInterval)
		return // not known is not low
	}
	low := lowSpace(sp, s.o.LowSpace)
	if low != "" || sp.FreeBytes < 2*uint64(s.o.Reserve) {
		// Without a new transaction the log would keep what was found in it, and without
		// room there is none. An error changes nothing, and it is tried again.
		if err := s.journal.GiveUpFound(); err != nil {
			s.log.Debug("the log cannot be given back yet", "err", err)
		} else if now, err := s.fs.Space(); err == nil {
			sp = now
		}
	}
	reserve := s.o.reserveOn(sp)
	if sp.FreeBytes < 4*uint64(reserve) && !s.hasReserve(reserve) {
		if err := s.journal.DropSpares(); err != nil {
			s.log.Debug("the log keeps files that it does not need", "err", err)
		} else if now, err := s.fs.Space(); err == nil {
			sp = now
		}
	}
	refuse := reserve > 0 && !s.makeReserve(sp, reserve) && sp.FreeBytes < 2*uint64(reserve)
	s.lookForRoom()
	wasLow, refused := s.state.SetSpace(low, refuse)
	if low != "" && wasLow == "" {
		s.log.Warn("space is getting low", "free", low)
	}
	if low == "" && wasLow != "" {
		s.log.Info("there is space again")
	}
	if refuse && !refused {
		s.log.Warn("disk full: commits are refused until there is room for a reserve", "free", human.Bytes(int64(sp.FreeBytes)), "path", reserveFile)
	}
	if !refuse && refused {
		s.log.Info("there is room for a reserve again: commits are taken")
	}
	w.lookAt = now.Add(10 * s.o.RetryInterval)
	if refuse { // writers wait for the next look
		w.lookAt = now.Add(s.o.RetryInterval)
	}
}

// reserveOn is how large the reserve is on a file system: of a small one it takes a part,
// or else nothing could ever be committed there.
func (o *Options) reserveOn(sp vfs.Space) int64 {
	if sp.TotalBytes == 0 { // not known
		return o.Reserve
	}
	return min(o.Reserve, int64(sp.TotalBytes/lowPart))
}

// hasReserve reports whether the reserve is there, as large as it should be.
func (s *Storage) hasReserve(size int64) bool {
	info, err := s.fs.Stat(reserveFile)
	return err == nil && info.Size >= size
}

// makeReserve reports whether the reserve is there, and makes it if there is room.
func (s *Storage) makeReserve(sp vfs.Space, size int64) bool {
	if s.hasReserve(size) {
		return true
	}
	err := s.fs.Remove(reserveFile) // of an earlier setting, or half made
	if err != nil && !errors.Is(err, fs.ErrNotExist) || sp.FreeBytes < 4*uint64(size) {
		return false
	}
	f, err := s.fs.Create(reserveFile)
	if err != nil {
		return false
	}
	if err := errors.Join(f.Allocate(size), f.Close()); err != nil {
		_ = s.fs.Remove(reserveFile) // it is tried again
		return false
	}
	return true
}

// giveUpReserve frees the space of the reserve, if it is there. From then on commits are
// refused until there is room again: what was freed is for who makes room.
func giveUpReserve(f vfs.FS) bool { return f.Remove(reserveFile) == nil }

// roomForSnapshot is how much has to be free for a snapshot, if the reserve is to be kept.
const roomForSnapshot = 1 << 20

// makeRoom gives up the reserve for somebody who makes room, or saves what there is, if
// less than so many bytes are free, or a full disk keeps the flush from going on.
func (s *Storage) makeRoom(room uint64) {
	free := s.lookForRoom()
	stuck := s.state.NeedsRoom(free)
	sp, err := s.fs.Space()
	if err != nil || sp.FreeBytes >= room && !stuck || !giveUpReserve(s.fs) {
		return
	}
	s.log.Warn("disk full: the reserve is given up for a pack or a snapshot; commits are refused until there is room", "path", reserveFile)
	s.state.RefuseCommits()
	s.state.Wake()
}

// payFloor raises the floor of time stamps, if a full disk kept the open from it. Until
// then nothing may enter A or B.
func (s *Storage) payFloor() error {
	if !s.floorDebt.Load() {
		return nil
	}
	err := s.worker.raiseFloor(s)
	if err == nil {
		s.floorDebt.Store(false)
	}
	return err
}

// stayASnapshot makes an open that could not raise the floor, because the disk is
// full, start in snapshot mode: A stays what it is until there is room.
func (s *Storage) stayASnapshot(cause error) {
	s.log.Warn("disk full: starting in snapshot mode, which is left when there is room", "err", cause)
	s.floorDebt.Store(true)
	if sublock := s.state.TakeSublock(); sublock != nil {
		if err := sublock.Close(); err != nil { // it is free all the same
			s.log.Warn("giving back the sublock", "err", err)
		}
	}
	s.state.StartInSnapshot()
}

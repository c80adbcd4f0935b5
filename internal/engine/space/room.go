package space

import (
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// roomIn returns the room of the log: all free space except the part that counts as
// little, and of that part no more than the reserve gives up. Others may use up the rest.
func (o *Config) roomIn(sp vfs.Space, reserve int64) (free, limit state.Footprint) {
	boundless := state.Boundless()
	free, limit = boundless, boundless
	if sp.TotalBytes != 0 {
		low := o.lowOn(sp)
		free.Bytes = int64(min(sp.FreeBytes, uint64(boundless.Bytes)))
		limit.Bytes = reserve/4*3 + max(0, free.Bytes-low)
		if reserve == 0 {
			limit.Bytes += min(free.Bytes, low) / 2
		}
	}
	if sp.TotalInodes != 0 {
		low := int64(min(lowInodes, sp.TotalInodes/lowPart))
		free.Inodes = int64(min(sp.FreeInodes, uint64(boundless.Inodes)))
		limit.Inodes = max(0, free.Inodes-low) + min(free.Inodes, low)/2
	}
	return free, limit
}

// lowOn is the space that counts as little on a file system.
func (o *Config) lowOn(sp vfs.Space) int64 {
	least := o.LowSpace
	if least <= 0 {
		least = 1 << 30
	}
	return int64(min(uint64(least), sp.TotalBytes/lowPart))
}

// Room finds out how much room there is. Where that cannot be told, it counts as
// much as ever.
func (w *Watch) Room() (free state.Footprint) {
	at := w.o.Clock()
	sp, err := w.o.FS.Space()
	if err != nil {
		sp = vfs.Space{}
	}
	reserve := int64(0)
	if info, err := w.o.FS.Stat(ReserveFile); err == nil {
		reserve = info.Size
	}
	free, limit := w.o.roomIn(sp, reserve)
	w.o.State.SetRoom(at, free, limit)
	return free
}

// ForBatch makes room for a flush that is larger than the free space: log segments that
// wait to be used again go, and the batch becomes small enough to be finished. A flush
// that fails half way leaves files that take the room of the one before it.
func (w *Watch) ForBatch(batch []*state.Committed) (fits []*state.Committed, tight bool) {
	free := w.Room()
	if len(state.Fit(batch, free)) == len(batch) && (len(batch) == 0 || batch[0].Room.FitsInto(free)) {
		return batch, false
	}
	w.GiveBackLog()
	return state.Fit(batch, w.Room()), true
}

// Each start that commits adds a segment to the log, however little is in those that are
// there. One that is killed again and again before anything is flushed would fill the disk.
const (
	flushSegments = 3 // segments found at the open, from which on they are flushed at once
	CrowdSegments = 6 // segments that hold little, from which on they are flushed before anything is committed
)

// FlushCrowd is called by Open: it sees to it that a log of many segments is flushed.
func (w *Watch) FlushCrowd() {
	stats := w.journal.Stats()
	crowd := stats.Segments >= CrowdSegments && stats.Bytes < stats.Size/2
	if crowd || stats.Segments >= flushSegments {
		w.o.State.FlushRecovered(crowd)
	}
}

// GiveBackLog removes the files of the log that nobody needs. An error changes nothing,
// and it is tried again.
func (w *Watch) GiveBackLog() {
	if err := w.journal.DropSpares(); err != nil {
		w.o.Log.Debug("the log keeps files that it does not need", "err", err)
	}
	if err := w.journal.GiveUpFound(); err != nil {
		w.o.Log.Debug("the log cannot be given back yet", "err", err)
	}
}

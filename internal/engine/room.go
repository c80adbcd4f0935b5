package engine

import (
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// costOf is what the flush of a transaction will take that is about to be voted for, as far as
// that is known before: without its blobs.
func (s *Storage) costOf(t *Txn) store.Cost {
	return s.store.Cost(state.Outline(&t.meta, t.ops.n, func(yield func(size int64, first, blob bool)) {
		for op := range t.ops.all() {
			yield(int64(op.data.length), op.serial == 0, false)
		}
	}))
}

// smallTransaction is what a transaction of one small object takes up.
func (s *Storage) smallTransaction() state.Footprint {
	return state.FootprintOf(s.store.Cost(state.Outline(&zodb.TxnMeta{}, 1, func(yield func(size int64, first, blob bool)) { yield(0, true, false) })))
}

// roomIn is what the log may take up: all that is free but for what counts as little,
// and of that no more than the reserve gives up. Others may use up the rest.
func (o *Options) roomIn(sp vfs.Space, reserve int64) (free, limit state.Footprint) {
	boundless := state.Boundless()
	free, limit = boundless, boundless
	if sp.TotalBytes != 0 {
		least := o.LowSpace
		if least <= 0 {
			least = 1 << 30
		}
		low := int64(min(uint64(least), sp.TotalBytes/lowPart))
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

// lookForRoom finds out how much room there is. Where that cannot be told, it counts as
// much as ever.
func (s *Storage) lookForRoom() (free state.Footprint) {
	at := s.o.Clock()
	sp, err := s.fs.Space()
	if err != nil {
		sp = vfs.Space{}
	}
	reserve := int64(0)
	if info, err := s.fs.Stat(reserveFile); err == nil {
		reserve = info.Size
	}
	free, limit := s.o.roomIn(sp, reserve)
	s.state.SetRoom(at, free, limit)
	return free
}

// roomForBatch makes room for a flush that is larger than what is free: what waits to be
// used again by the log goes, and the batch becomes so small that it comes to its end. One
// that fails half way leaves files that take the room of the one before it.
func (s *Storage) roomForBatch(batch []*state.Committed) (fits []*state.Committed, tight bool) {
	free := s.lookForRoom()
	if len(state.Fit(batch, free)) == len(batch) && (len(batch) == 0 || batch[0].Room.FitsInto(free)) {
		return batch, false
	}
	s.giveBackLog()
	return state.Fit(batch, s.lookForRoom()), true
}

// Each start that commits adds a segment to the log, however little is in those that are
// there. One that is killed again and again before anything is flushed would fill the disk.
const (
	flushSegments = 3 // so many found at the open are flushed at once
	crowdSegments = 6 // so many that hold little are flushed before anything is committed
)

// crowded is called by Open: it sees to it that a log of many segments is flushed.
func (s *Storage) crowded() {
	stats := s.journal.Stats()
	crowd := stats.Segments >= crowdSegments && stats.Bytes < stats.Size/2
	if crowd || stats.Segments >= flushSegments {
		s.state.FlushRecovered(crowd)
	}
}

// giveBackLog removes the files of the log that nobody needs. An error changes nothing,
// and it is tried again.
func (s *Storage) giveBackLog() {
	if err := s.journal.DropSpares(); err != nil {
		s.log.Debug("the log keeps files that it does not need", "err", err)
	}
	if err := s.journal.GiveUpFound(); err != nil {
		s.log.Debug("the log cannot be given back yet", "err", err)
	}
}

package engine

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// What is in the log has its space there, but no files yet. They take more: a record of
// a hundred bytes becomes two files, so two blocks and two inodes. So commits are only
// taken while all that is in the log can be flushed into what is free, or, when little is
// free, into what the reserve gives up.

// footprint is what files take up on a file system.
type footprint struct{ bytes, inodes int64 }

func (a footprint) plus(b footprint) footprint {
	return footprint{a.bytes + b.bytes, a.inodes + b.inodes}
}
func (a footprint) minus(b footprint) footprint {
	return footprint{a.bytes - b.bytes, a.inodes - b.inodes}
}

// part is n/d of it.
func (a footprint) part(n, d int64) footprint { return footprint{a.bytes / d * n, a.inodes / d * n} }

func (a footprint) fitsInto(b footprint) bool { return a.bytes <= b.bytes && a.inodes <= b.inodes }

// boundless is more than anything takes up.
var boundless = footprint{math.MaxInt64 / 4, math.MaxInt64 / 4}

const (
	diskBlock = 4 << 10
	// nameSize is for the name of a file, and for its inode where inodes take space.
	nameSize = 512
	// batchSlack is for the marks of a flush, which are written aside.
	batchSlack = 64 << 10
)

// fileRoom is what one file of so many bytes takes up at most.
func fileRoom(size int64) footprint {
	return footprint{(size+diskBlock-1)/diskBlock*diskBlock + nameSize, 1}
}

// roomOf is what the flush of a transaction takes up at most: the directories
// that a format usually needs for it are in it, and nothing is taken off for the
// pointers that are replaced.
func roomOf(format layout.Format, meta *zodb.TxnMeta, records []journal.Entry) footprint {
	return roomOfEach(format, meta, len(records), func(yield func(size int64, fresh bool)) {
		for i := range records {
			yield(records[i].Len, records[i].Previous == 0)
		}
	})
}

// roomOfEach is roomOf where n records are yielded: the length of the data in bytes, and
// whether the object is new.
func roomOfEach(format layout.Format, meta *zodb.TxnMeta, n int, records func(yield func(size int64, fresh bool))) footprint {
	perTransaction, perObject := int64(1), int64(1)
	switch format {
	case layout.Bushy:
		perTransaction, perObject = 4, 2
	case layout.Chunky:
		perTransaction = 3
	case layout.Flat:
		perTransaction, perObject = 0, 0
	}
	dirs := perTransaction
	sum := fileRoom(int64(64 + 8*n + len(meta.User) + len(meta.Description) + len(meta.Extension)))
	records(func(size int64, fresh bool) {
		sum = sum.plus(fileRoom(80 + size)).plus(fileRoom(8))
		if fresh {
			dirs += perObject
		}
	})
	dir := fileRoom(diskBlock)
	return sum.plus(footprint{dir.bytes * dirs, dir.inodes * dirs})
}

// roomFor is what a transaction that is about to be voted for takes up, as far as that
// is known before.
func (s *Storage) roomFor(t *Txn) footprint {
	return roomOfEach(s.store.Format(), &t.meta, t.ops.n, func(yield func(size int64, fresh bool)) {
		for op := range t.ops.all() {
			yield(int64(op.data.length), op.serial == 0)
		}
	})
}

// smallTransaction is what a transaction of one small object takes up.
func (s *Storage) smallTransaction() footprint {
	return roomOf(s.store.Format(), &zodb.TxnMeta{}, make([]journal.Entry, 1))
}

// room is what is known of the room for what is in the log.
type room struct {
	at    time.Time // when it was looked at; zero: never
	free  footprint // on the file system
	limit footprint // what all that is in the log may take up
	// promised is what transactions take up that were let in and are not in the log yet.
	promised footprint
	// line are those who wait for room, in the order in which they came.
	line []*Txn
	// patience is how long the first of them waits for those that were let in.
	patience time.Time
}

// roomIn is what the log may take up: all that is free but for what counts as little,
// and of that no more than the reserve gives up. Others may use up the rest.
func (o *Options) roomIn(sp vfs.Space, reserve int64) (free, limit footprint) {
	free, limit = boundless, boundless
	if sp.TotalBytes != 0 {
		least := o.LowSpace
		if least <= 0 {
			least = 1 << 30
		}
		low := int64(min(uint64(least), sp.TotalBytes/lowPart))
		free.bytes = int64(min(sp.FreeBytes, uint64(boundless.bytes)))
		limit.bytes = reserve/4*3 + max(0, free.bytes-low)
		if reserve == 0 {
			limit.bytes += min(free.bytes, low) / 2
		}
	}
	if sp.TotalInodes != 0 {
		low := int64(min(lowInodes, sp.TotalInodes/lowPart))
		free.inodes = int64(min(sp.FreeInodes, uint64(boundless.inodes)))
		limit.inodes = max(0, free.inodes-low) + min(free.inodes, low)/2
	}
	return free, limit
}

// lookForRoom finds out how much room there is. Where that cannot be told, it counts as
// much as ever.
func (s *Storage) lookForRoom() (free footprint) {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.worker.room
	r.at, r.free, r.limit = at, free, limit
	return free
}

// lookEvery is how old what is known of the room may be, because somebody else may fill
// up the disk.
const lookEvery = 100 * time.Millisecond

// roomIsOld reports whether it is time to look for room again before so much more is let
// in: ten times a second, and always when there is little. mu must be held.
func (s *Storage) roomIsOld(need footprint) bool {
	r := &s.worker.room
	all := s.unflushed.room.plus(r.promised).plus(need)
	return r.at.IsZero() || s.o.Clock().Sub(r.at) >= lookEvery || !all.fitsInto(r.limit.part(1, 4))
}

// hasRoom reports whether so much more may come into the log. What is alone there may take
// up half of what is free: it is flushed at once. mu must be held.
func (s *Storage) hasRoom(need footprint) bool {
	r := &s.worker.room
	if all := s.unflushed.room.plus(r.promised); all != (footprint{}) {
		return all.plus(need).fitsInto(r.limit)
	}
	return need.fitsInto(r.limit) || need.fitsInto(r.free.part(1, 2))
}

// overfull reports whether what is in the log has to be flushed, because little is free.
// mu must be held.
func (s *Storage) overfull() bool {
	r := &s.worker.room
	return !r.at.IsZero() && !s.unflushed.room.fitsInto(r.limit)
}

// promise notes that a transaction was let in. mu must be held.
func (s *Storage) promise(t *Txn, need footprint) {
	s.unpromise(t)
	t.promised = need
	s.worker.room.promised = s.worker.room.promised.plus(need)
}

// unpromise forgets it again. mu must be held.
func (s *Storage) unpromise(t *Txn) {
	s.worker.room.promised = s.worker.room.promised.minus(t.promised)
	t.promised = footprint{}
}

// hasTurn reports whether nobody waits for room who came before: if small transactions
// passed a large one, it would wait for ever. Who holds locks is let pass: those before him
// may wait for these. mu must be held.
func (s *Storage) hasTurn(t *Txn) bool {
	line := s.worker.room.line
	return len(line) == 0 || line[0] == t || t.held != nil
}

// waitForRoom is about a transaction for which there is no room beside what is in the
// log: that is flushed, and the transaction gets a place in the line. It waits in vain where nothing is left to flush, or cannot be. mu
// must be held.
func (s *Storage) waitForRoom(t *Txn, need footprint) (time.Duration, error) {
	r := &s.worker.room
	if !slices.Contains(r.line, t) {
		r.line = append(r.line, t)
		if len(r.line) == 1 {
			r.patience = s.o.Clock().Add(s.o.RetryInterval)
		}
	}
	if !s.hasTurn(t) {
		return gateCheck, nil
	}
	if cause := s.worker.trouble.cause; cause != nil {
		return 0, vfs.WithPassing(fmt.Errorf("transactions wait to be flushed: %w", cause))
	}
	if len(s.unflushed.queue) == 0 && (r.promised == (footprint{}) || s.o.Clock().After(r.patience)) {
		return 0, s.errNoRoom(need)
	}
	s.worker.flushTo = max(s.worker.flushTo, s.last)
	s.worker.wake()
	return gateCheck, nil
}

// leaveLine is called when a transaction waits no more.
func (s *Storage) leaveLine(t *Txn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.worker.room
	if i := slices.Index(r.line, t); i >= 0 {
		r.line = slices.Delete(r.line, i, i+1)
		if i == 0 {
			r.patience = s.o.Clock().Add(s.o.RetryInterval)
		}
	}
}

// errNoRoom says why a transaction is refused. mu must be held.
func (s *Storage) errNoRoom(need footprint) error {
	free := s.worker.room.free
	has, wants := human.Bytes(free.bytes), human.Bytes(need.bytes)
	if free.inodes < boundless.inodes {
		has += " and " + human.Count(free.inodes) + " inodes"
		wants += " and " + human.Count(need.inodes) + " inodes"
	}
	others := ""
	if promised := s.worker.room.promised; promised != (footprint{}) {
		others = ", beside " + human.Bytes(promised.bytes) + " of transactions that are to be finished"
	}
	return fmt.Errorf("%w: %s are free on the file system of HOME, and the files of the transaction take up to %s%s; make room, or pack", ErrDiskFull, has, wants, others)
}

// fit returns so many of the oldest transactions as can be flushed into what is
// free, one at least. mu must be held.
func (s *Storage) fit(batch []*committed, free footprint) []*committed {
	free = free.minus(footprint{batchSlack, 4}).part(7, 8)
	var sum footprint
	for i, c := range batch {
		if sum = sum.plus(c.room); i > 0 && !sum.fitsInto(free) {
			return batch[:i]
		}
	}
	return batch
}

// roomForBatch makes room for a flush that is larger than what is free: what waits to be
// used again by the log goes, and the batch becomes so small that it comes to its end. One
// that fails half way leaves files that take the room of the one before it.
func (s *Storage) roomForBatch(batch []*committed) (fits []*committed, tight bool) {
	free := s.lookForRoom()
	if len(s.fit(batch, free)) == len(batch) && (len(batch) == 0 || batch[0].room.fitsInto(free)) {
		return batch, false
	}
	s.giveBackLog()
	return s.fit(batch, s.lookForRoom()), true
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
	if stats.Segments >= flushSegments {
		s.worker.flushTo = s.last
	}
	if stats.Segments >= crowdSegments && stats.Bytes < stats.Size/2 {
		s.worker.crowd = s.last
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

package bundled

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"time"

	"github.com/dirstorage/dirstorage/internal/current"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// A storage without a table works, and is slower. So an obstacle to making one, such as a full
// disk, is reported, and a chore makes the table when that is over.

// noTable is told where the table could not be made or kept up. Nothing is lost: it is derived.
const noTable = "no table of current revisions: reads look into the indexes of bundles, and are slower; it is made again in the background as soon as that is possible"

// tableAgain is said when it was.
const tableAgain = "the table of current revisions is there again"

const (
	// firstTry and lastTry are the waits after a failure, which grow from one to the other.
	firstTry, lastTry = time.Second, 10 * time.Minute
	// roomTry is the wait where there is no room for a table.
	roomTry = 10 * time.Second
)

// lack is the state of a store whose table failed.
type lack struct {
	told  bool
	wait  time.Duration
	retry time.Time // not before
}

// tableFailed notes that there is no table, by the goroutine that puts.
func (s *Store) tableFailed(err error) {
	l := &s.lack
	l.wait = min(max(firstTry, 2*l.wait), lastTry)
	l.retry = s.o.Clock().Add(l.wait)
	if errors.Is(err, current.ErrSparse) {
		return // it was of no use
	}
	if !l.told && s.o.Warn != nil {
		s.o.Warn(noTable, err)
	}
	l.told = true
}

// makeTable opens the table and brings it up to date with a view, or makes a new one. nil, without
// an error: there is no use in one now. first: it is for the first view.
func (s *Store) makeTable(ctx context.Context, v *view, first bool, progress func(done, total int64) error) (t *table, rebuilt bool, err error) {
	if !v.whole() {
		return nil, false, nil // the table would take older revisions for current ones
	}
	found, err := current.Open(s.fs, s.o.Identity)
	if err == nil {
		t = newTable(found)
		err = t.catchUp(ctx, v)
		if first {
			s.warnOfLostLists(t, v)
		}
		if err == nil {
			return t, false, nil
		}
		_ = found.Close() // nothing of it is needed
	}
	if f := vfs.FaultOf(err); f == vfs.FullFault || f == vfs.ScarceFault || ctx.Err() != nil {
		return nil, false, err // it is good up to its last commit
	}
	if rebuilt = !errors.Is(err, current.ErrSparse) || t != nil; rebuilt {
		t, err = s.rebuild(ctx, v, progress)
	}
	if errors.Is(err, current.ErrSparse) {
		s.sparse.Store(true)
		return nil, rebuilt, nil
	}
	return t, rebuilt, err
}

// openTable is makeTable for the first view. An error is that of [Options.Progress].
func (s *Store) openTable(v *view) error {
	var stopped error
	progress := func(done, total int64) error {
		if s.o.Progress != nil {
			stopped = s.o.Progress(done, total)
		}
		return stopped
	}
	t, rebuilt, err := s.makeTable(context.Background(), v, true, progress)
	if stopped != nil {
		return stopped
	}
	if s.rebuilt = rebuilt; err != nil {
		s.tableFailed(err)
	}
	s.table.Store(t)
	return nil
}

// lacksTable reports whether there is no table although there could be one in a view.
func (s *Store) lacksTable(v *view) bool {
	t := s.table.Load()
	return (t == nil || t.bad.Load()) && !s.sparse.Load() && v.whole() && len(v.damaged()) == 0
}

// tableSize bounds the space that a table of all objects takes up beyond that of the one that is
// there.
func (s *Store) tableSize(v *view) int64 {
	revisions, highest := int64(0), uint64(0)
	for i := range v.parts {
		revisions += v.parts[i].Revisions
		highest = max(highest, uint64(v.parts[i].HighestOID))
	}
	size := current.MostSize(revisions, highest)
	if info, err := s.fs.Stat(current.Name); err == nil {
		size -= info.Size
	} else if !errors.Is(err, fs.ErrNotExist) {
		return math.MaxInt64
	}
	return size
}

// makeTable makes the table, if there is none and there is room.
func (c *chore) makeTable(ctx context.Context) (tried bool) {
	if !c.lacks || c.o.Reclaim || c.wait > 0 {
		c.later = max(c.later, c.wait)
		return false
	}
	if c.o.Room > 0 && c.s.tableSize(c.v) > c.o.Room {
		c.later = roomTry
		return false
	}
	t, _, err := c.s.makeTable(ctx, c.v, false, nil)
	c.s.leaveAlone(c.v, err)
	c.table, c.publish = t, func() (store.Tended, error) { return c.putTable(err) }
	return true
}

// putTable gives the store the table that was made, and brings it up to date. Its errors are told by the
// store: they are none of the care for files, and stop none of it.
func (c *chore) putTable(err error) (n store.Tended, _ error) {
	s, t := c.s, c.table
	if err == nil && t == nil {
		return n, nil // there is no use in one
	}
	if err == nil {
		if err = t.follow(c.v, s.now); err == nil {
			err = t.commit(s.now)
		}
	}
	if err != nil {
		s.tableFailed(err)
		return n, nil
	}
	before := s.table.Swap(t)
	c.table = nil
	if before != nil {
		_ = before.t.Close() // a reader who has it still gets an error, and looks into the indexes
	}
	if s.lack.told {
		n.Note = tableAgain
	}
	s.lack = lack{}
	return n, nil
}

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// countsFile holds the counts of what is flushed, so that nobody has to walk
// the tree for them. It is no part of the database: if it is missing or does
// not fit (a HOME of the original, or one restored from a copy of A), the
// counts are unknown until [Storage.CountExactly] is called.
const countsFile = "misc/counts"

// savedCounts is the content of countsFile.
type savedCounts struct {
	TID zodb.TID `json:"tid"` // they include all transactions up to this one
	zodb.Counts
}

// Counts returns how much the storage holds, what is not flushed yet included.
// It costs nothing, however much that is, and may be called from the callback
// of [Txn.Finish], whose transaction it includes then.
func (s *Storage) Counts() zodb.Counts {
	n := s.state.Counts()
	if !n.Exact {
		n.Objects = int64(min(uint64(s.oids.Highest()), 1<<62)) + 1
		if s.LastTransaction() == 0 {
			n.Objects = 0
		}
	}
	return n
}

// saveCounts keeps the counts of everything up to a transaction. They are no part of
// the database: if they cannot be kept, the log says so once, and the next flush, or
// Close, tries again. countsMu must be held.
func (s *Storage) saveCounts(n zodb.Counts, upTo zodb.TID) {
	b, err := json.Marshal(savedCounts{TID: upTo, Counts: n})
	if err == nil {
		err = vfs.WriteFileAtomic(s.home.FS, home.JournalDir+"/aside-counts", countsFile, append(b, '\n'), s.home.Sync())
	}
	if err != nil && !s.unsaved {
		// Older ones may be of the same transaction, before a pack: none are better.
		if rerr := s.home.FS.Remove(countsFile); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		s.log.Warn("how much the storage holds could not be written down; it goes on without", "path", countsFile, "err", err)
	}
	s.unsaved = err != nil
}

// saveUnsaved tries once more to keep the counts, if that failed.
func (s *Storage) saveUnsaved() {
	s.countsMu.Lock()
	defer s.countsMu.Unlock()
	if !s.unsaved {
		return
	}
	s.saveCounts(s.state.FlushedCounts())
}

// loadCounts reads the counts, if they are those of the database as it is. next
// are the transactions that are in the log and not flushed; some of them may be
// counted already, when a crash came between the counts and x.serial.
func (s *Storage) loadCounts(flushed zodb.TID, next []*state.Committed) zodb.Counts {
	b, err := s.home.FS.ReadFile(countsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return zodb.Counts{Exact: flushed == 0}
	}
	var saved savedCounts
	if err == nil {
		err = json.Unmarshal(b, &saved)
	}
	if err != nil {
		s.log.Warn("the counts cannot be read and are ignored", "path", countsFile, "err", err)
		return zodb.Counts{}
	}
	if saved.TID == flushed {
		return saved.Counts
	}
	// Take out again what was counted and is going to be flushed once more.
	for i, c := range next {
		if c.TID == saved.TID {
			var again zodb.Counts
			state.AddBatch(&again, next[:i+1], s.home.Full)
			state.Combine(&saved.Counts, again, -1)
			return saved.Counts
		}
	}
	return zodb.Counts{}
}

// CountExactly counts by reading the names and sizes of all files, which takes
// a while in a large storage, and keeps the result. A storage that is open for
// writing is in snapshot mode meanwhile.
func (s *Storage) CountExactly(ctx context.Context) (zodb.Counts, error) {
	if s.o.ReadOnly {
		return s.countFiles(ctx, store.A, store.B)
	}
	const code = "count"
	if err := s.EnterSnapshot(ctx, code); err != nil {
		return zodb.Counts{}, fmt.Errorf("count files: %w", err)
	}
	before := s.state.CountsOfA()
	n, err := s.countFiles(ctx, store.A)
	if lerr := s.LeaveSnapshot(ctx, code); lerr != nil {
		s.AbandonSnapshot(code) // somebody took the sublock; it is left when he gives it back
		s.log.Warn("snapshot mode stays on for a while after counting", "err", lerr)
	}
	if err != nil {
		return zodb.Counts{}, err
	}
	s.countsMu.Lock()
	defer s.countsMu.Unlock()
	s.saveCounts(s.state.SetCounts(n, before))
	return s.Counts(), nil
}

// countFiles counts what lies in A, or in A and B.
func (s *Storage) countFiles(ctx context.Context, sides ...store.Side) (zodb.Counts, error) {
	n, err := s.store.Count(ctx, sides...)
	if err != nil {
		return zodb.Counts{}, fmt.Errorf("count files: %w", err)
	}
	counts := state.CountsOf(n)
	counts.Exact = true
	return counts, nil
}

package flush

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"sync"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Tally counts the flushed revisions, and keeps the counts in misc/counts. Its methods may be
// called concurrently.
type Tally struct {
	o        TallyConfig
	countsMu sync.Mutex // held while the counts are changed and saved
	unsaved  bool       // misc/counts could not be written
}

// TallyConfig is the part of the storage that a Tally needs.
type TallyConfig struct {
	Home  *home.Home
	Log   *slog.Logger
	State *state.State
	OIDs  *state.OIDs
}

// NewTally returns a Tally that has read nothing.
func NewTally(o TallyConfig) *Tally { return &Tally{o: o} }

// CountsFile holds the flushed counts, so that nobody has to walk the tree for them. It
// does not belong to the database: if it is missing or does not fit (a HOME of the
// original, or one restored from a copy of A), the counts are unknown until somebody
// counts exactly.
const CountsFile = "misc/counts"

// savedCounts is the content of CountsFile.
type savedCounts struct {
	TID zodb.TID `json:"tid"` // they include all transactions up to this one
	zodb.Counts
}

// Counts returns how much the storage holds, unflushed transactions included.
// It costs nothing, however much that is, and may be called from the callback
// of Finish, whose transaction it includes then.
func (t *Tally) Counts() zodb.Counts {
	n := t.o.State.Counts()
	if !n.Exact {
		n.Objects = int64(min(uint64(t.o.OIDs.Highest()), 1<<62)) + 1
		if t.o.State.LastTID() == 0 {
			n.Objects = 0
		}
	}
	return n
}

// save keeps the counts of everything up to a transaction. They are not a part of
// the database: if they cannot be kept, the log says so once, and the next flush, or
// Close, tries again. countsMu must be held.
func (t *Tally) save(n zodb.Counts, upTo zodb.TID) {
	err := SaveCounts(t.o.Home, n, upTo)
	if err != nil && !t.unsaved {
		// Older ones may be of the same transaction, before a pack: none are better.
		if rerr := t.o.Home.FS.Remove(CountsFile); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		t.o.Log.Warn("how much the storage holds could not be written down; it goes on without", "path", CountsFile, "err", err)
	}
	t.unsaved = err != nil
}

// SaveCounts writes misc/counts, for a HOME that is locked and not open.
func SaveCounts(h *home.Home, n zodb.Counts, upTo zodb.TID) error {
	b, err := json.Marshal(savedCounts{TID: upTo, Counts: n})
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(h.FS, home.JournalDir+"/aside-counts", CountsFile, append(b, '\n'), h.Sync())
}

// saveUnsaved tries once more to keep the counts, if that failed.
func (t *Tally) saveUnsaved() {
	t.countsMu.Lock()
	defer t.countsMu.Unlock()
	if !t.unsaved {
		return
	}
	t.save(t.o.State.FlushedCounts())
}

// Load reads the counts, if they are those of the database as it is. next
// are the transactions that are in the log and not flushed; some of them may be
// counted already, when a crash came between the counts and x.serial.
func (t *Tally) Load(flushed zodb.TID, next []*state.Committed) zodb.Counts {
	saved, err := readCounts(t.o.Home)
	if err != nil {
		t.o.Log.Warn("the counts cannot be read and are ignored", "path", CountsFile, "err", err)
		return zodb.Counts{}
	}
	if saved.TID == flushed {
		return saved.Counts
	}
	// Take out the transactions that were counted and are going to be flushed once more.
	for i, c := range next {
		if c.TID == saved.TID {
			var again zodb.Counts
			state.AddBatch(&again, next[:i+1], t.o.Home.Full)
			state.Combine(&saved.Counts, again, -1)
			return saved.Counts
		}
	}
	return zodb.Counts{}
}

// readCounts reads misc/counts. Where it is missing, that is what an empty storage has.
func readCounts(h *home.Home) (saved savedCounts, err error) {
	b, err := h.FS.ReadFile(CountsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return savedCounts{Counts: zodb.Counts{Exact: true}}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &saved)
	}
	return saved, err
}

// CountsUpTo returns the counts of a HOME that is locked and not open, and ends with a transaction. If
// they are not known, they are not exact.
func CountsUpTo(h *home.Home, last zodb.TID) zodb.Counts {
	saved, err := readCounts(h)
	if err != nil || saved.TID != last {
		return zodb.Counts{}
	}
	return saved.Counts
}

// TID returns the transaction that misc/counts is of, 0 if that is not known.
func (t *Tally) TID() zodb.TID {
	saved, err := readCounts(t.o.Home)
	if err != nil {
		return 0
	}
	return saved.TID
}

// Recount adds (sign 1) or takes away (sign -1) revisions that a pack has brought back or
// removed, and keeps the counts.
func (t *Tally) Recount(n zodb.Counts, sign int64) {
	t.countsMu.Lock()
	defer t.countsMu.Unlock()
	t.save(t.o.State.Recount(n, sign))
}

// Replace replaces the counts of A by counted, a count of its files while it stood still, and
// keeps them. before is the result of [state.State.CountsOfA] at that moment.
func (t *Tally) Replace(counted, before zodb.Counts) {
	t.countsMu.Lock()
	defer t.countsMu.Unlock()
	t.save(t.o.State.SetCounts(counted, before))
}

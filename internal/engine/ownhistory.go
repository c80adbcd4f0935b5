package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/txn"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// History says what an Open means for the history of a storage.
//
// A storage that was restored, copied, moved or imported may lack transactions that
// clients have seen: they were committed after the copy was made. It must not seem to
// be the one that had them. So it begins with an empty transaction of its own, later
// than all that was given out: clients whose caches are ahead can connect again, and
// drop them, because their last transaction is not of this history.
type History uint8

const (
	// HistoryOwn is for who serves or changes the storage: if it was brought back, it
	// begins with an empty transaction. Nobody has to say that it was: misc/history
	// tells a HOME from every copy of it.
	HistoryOwn History = iota
	// HistoryKept is for who looks after a storage and commits nothing: no transaction
	// is added, and the next Open with HistoryOwn finds out whether one is due.
	HistoryKept
	// HistoryCopied is for who adds transactions of another storage with their tids:
	// if there were any, the next Open with HistoryOwn begins a history.
	HistoryCopied
	// HistoryRead is for who serves a storage to clients that only read: as with HistoryKept,
	// but a history that differs from its source begins, else caches would be believed.
	HistoryRead
)

// ownHistory is what is known of the mark.
type ownHistory struct {
	mark   histfile.Mark
	reason string   // why it is not that of this HOME; "" if it is
	past   zodb.TID // no less than all that is known to have been given out
	err    error    // why it cannot be told: then the next Open finds out

	mu     sync.Mutex // after Open
	copied bool       // see copyingIn
}

// inspectHistory looks whether the mark is that of this HOME, before anything is
// changed. Whether it fits the last transaction is seen by whyAnother.
func (s *Storage) inspectHistory() {
	h := &s.history
	h.past = max(s.tally.TID(), s.backedUpTID())
	mark, err := histfile.Read(s.home.FS)
	if errors.Is(err, fs.ErrNotExist) {
		h.reason = "there is no " + histfile.Name
		return
	}
	if meaningless, ok := errors.AsType[*histfile.MeaninglessError](err); ok {
		h.reason = meaningless.Error()
		return
	}
	if err != nil {
		h.err = err
		return
	}
	h.mark = mark
	h.past = max(h.past, h.mark.TID)
	file, err := vfs.Identify(s.home.FS, histfile.AnchorNames()[h.mark.Anchor])
	switch {
	case h.mark.Differs && !h.mark.Due:
		h.reason = "it was imported, and differs from what it was imported from"
	case h.mark.Identity != s.home.Identity:
		h.reason = histfile.Name + " is of another storage"
	case errors.Is(err, fs.ErrNotExist):
		h.reason = "the file that belongs to " + histfile.Name + " is missing"
	case err != nil:
		h.err = err
	case file != h.mark.File:
		h.reason = "this HOME is a copy"
	default:
		a, err := s.identifyA()
		if h.err = err; err == nil && a != h.mark.A {
			h.reason = "another A is in the place of the one that was there"
		}
	}
}

func (s *Storage) identifyA() (vfs.Identity, error) {
	a, err := vfs.Identify(s.home.FS, string(store.A))
	a.Changed = 0 // with each name in it
	return a, err
}

// backedUpTID returns the last transaction of the newest backup that misc/backed-up tells of.
func (s *Storage) backedUpTID() (newest zodb.TID) {
	b, err := s.home.FS.ReadFile(backedUpFile)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		digits, _, _ := strings.Cut(line, " ")
		if tid, err := zodb.ParseTID(digits); err == nil {
			newest = max(newest, tid)
		}
	}
	return newest
}

// beginHistory makes sure that the history is one of its own: see [History]. It is
// called by Open, when transactions can be committed and nobody else can have begun
// one. That the empty transaction cannot be committed is no reason not to open: no
// client is told anything wrong without it, and the next Open tries it again. Only where
// the storage differs from its source nothing else keeps caches from being believed.
func (s *Storage) beginHistory(ctx context.Context) error {
	h := &s.history
	last := s.LastTransaction()
	if h.reason == "" && h.past > last {
		h.reason = fmt.Sprintf("transaction %s was there already", h.past)
	}
	switch {
	case s.o.History == HistoryKept || s.o.History == HistoryCopied || s.o.History == HistoryRead && !h.mark.Differs:
		return nil
	case h.err != nil:
		s.log.Warn("it cannot be told whether this HOME was brought back; the next start finds out", "path", histfile.Name, "err", h.err)
		return nil
	}
	if h.reason != "" {
		s.doubtBackups()
	}
	reason, due, differs := h.reason, h.reason != "" && last != 0, h.mark.Differs
	if h.reason == "" && h.mark.Due && h.mark.TID == last {
		reason, due = "an Open was interrupted when it was to begin", true
	} else if due && !s.noteHistory(histfile.Mark{TID: last, Due: true, Differs: differs}) {
		return unlessItDiffers(differs, fmt.Errorf("%s cannot be written", s.home.FS.Path(histfile.Name)))
	}
	if due {
		// What says that it is due has to be durable before it: also the mark that a
		// killed process wrote, and a directory misc that was just made.
		if err := s.syncHistory(); err != nil {
			s.log.Warn("the empty transaction with which this history begins is put off to the next start", "reason", reason, "err", err)
			return unlessItDiffers(differs, err)
		}
	}
	if due {
		tid, err := s.commitBeginning(ctx, max(last, h.past), differs)
		if err != nil {
			if ctx.Err() == nil { // else whoever asked for the open has given it up
				s.log.Warn("could not commit the empty transaction with which this history begins; the next start tries it again", "reason", reason, "err", err)
			}
			return unlessItDiffers(differs, err)
		}
		s.log.Info("a history of its own begins", "reason", reason, "tid", tid, "after", last)
	}
	h.reason, h.mark.Due = "", false // if it cannot be noted now, Close tries it again
	s.noteHistory(histfile.Mark{TID: s.LastTransaction()})
	return nil
}

func unlessItDiffers(differs bool, err error) error {
	if !differs {
		return nil
	}
	return fmt.Errorf("the storage differs from what it was imported from, and the transaction that tells clients to drop their caches cannot be committed: %w", err)
}

// commitBeginning commits the empty transaction, later than all that is known to have been given out.
func (s *Storage) commitBeginning(ctx context.Context, past zodb.TID, anew bool) (zodb.TID, error) {
	text := histfile.Begins
	if anew {
		text = histfile.BeginsAnew
	}
	t, err := s.Begin(ctx, zodb.TxnMeta{Description: []byte(text)}, zodb.BeginOptions{TID: beginningTID(s.o.Clock(), past)})
	if err != nil {
		return 0, err
	}
	if err := t.Vote(ctx); err != nil {
		return 0, errors.Join(err, t.Abort())
	}
	return t.Finish(ctx, nil)
}

// beginningTID returns the tid of the transaction with which a history begins after past.
// Where the clock is behind, as with transactions of the future, tids only count on. Those
// that were lost would be given out again, and clients could not tell the two
// histories apart. So it lies a minute ahead, as tids count time, which is more of them than
// anybody commits, and a part of another one that differs each time.
func beginningTID(now time.Time, past zodb.TID) zodb.TID {
	const minute = 1 << 32
	if tid := zodb.TIDFromTime(now); tid > past {
		return tid
	}
	if past > txn.LatestTID-4*minute {
		return past + 1
	}
	return past + minute + zodb.TID(rand.Uint32())
}

// noteHistory writes a mark, with a new file beside it: whatever is put back over this
// HOME later differs from both. It reports whether it did.
func (s *Storage) noteHistory(m histfile.Mark) bool {
	h := &s.history
	m.Identity, m.Anchor = s.home.Identity, 1-h.mark.Anchor
	if err := s.writeHistory(&m); err != nil {
		s.log.Warn("cannot write the mark of this storage's history; the next start takes it for a copy", "path", histfile.Name, "err", err)
		return false
	}
	h.mark, h.reason = m, ""
	return true
}

func (s *Storage) writeHistory(m *histfile.Mark) error {
	anchor := histfile.AnchorNames()[m.Anchor]
	var err error
	if m.A, err = s.identifyA(); err != nil {
		return err
	}
	if err := s.home.FS.Remove(anchor); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = vfs.Put(s.home.FS, anchor, []byte("no copy of this file is the same: see misc/history\n"), s.home.Sync().File)
	if err != nil {
		return err
	}
	if s.home.Sync().Dir { // the mark must not be there without it
		if err := s.home.FS.SyncDir("misc"); err != nil {
			return err
		}
	}
	if m.File, err = vfs.Identify(s.home.FS, anchor); err != nil {
		return err
	}
	if err := histfile.Write(s.home.FS, *m, s.home.Sync()); err != nil {
		return err
	}
	if err := s.home.FS.Remove(histfile.AnchorNames()[1-m.Anchor]); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncHistory makes the names of the mark and of what belongs to it durable.
func (s *Storage) syncHistory() error {
	if !s.home.Sync().Dir {
		return nil
	}
	return errors.Join(s.home.FS.SyncDir("misc"), s.home.FS.SyncDir("."))
}

// copyingIn forgets the mark, durably, before the first transaction of another storage
// is added by an Open with HistoryCopied.
func (s *Storage) copyingIn() error {
	if s.o.History != HistoryCopied {
		return nil
	}
	h := &s.history
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.copied {
		return nil
	}
	var err error
	if !h.mark.Differs {
		err = s.forgetHistory()
	} else if h.mark.Due { // after a transaction that will not be the last one
		err = s.noteDiffers()
	}
	if err != nil {
		return err
	}
	h.reason, h.copied = "transactions of another storage were copied into it", true
	return nil
}

// DiffersFromSource is called after an Open with HistoryCopied by who is going to add a
// transaction that is not as the source has it, or lacks something: parts that are
// damaged, or with another tid. What clients have cached of the source is not of this
// storage then, though it has the same tids. It is remembered, durably, for the Open
// that begins the history: see [histfile.IsAnew].
func (s *Storage) DiffersFromSource() error {
	if err := s.copyingIn(); err != nil {
		return err
	}
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	if s.o.History != HistoryCopied || s.history.mark.Differs {
		return nil
	}
	return s.noteDiffers()
}

// noteDiffers writes a mark that is of no storage.
func (s *Storage) noteDiffers() error {
	m := histfile.Mark{Differs: true}
	if err := histfile.Write(s.home.FS, m, s.home.Sync()); err != nil {
		return err
	}
	s.history.mark = m
	return s.syncHistory()
}

// forgetHistory removes the mark, durably.
func (s *Storage) forgetHistory() error {
	err := s.home.FS.Remove(histfile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && s.home.Sync().Dir {
		err = s.home.FS.SyncDir("misc")
	}
	return err
}

// endHistory is called by Close, when nobody can commit any more: a copy that was made
// before, and is put back later, is older than the mark.
func (s *Storage) endHistory() {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	if s.history.err != nil || s.history.reason != "" || s.history.mark.Due || s.state.Failure() != nil {
		return
	}
	s.noteHistory(histfile.Mark{TID: s.state.LastTID()})
}

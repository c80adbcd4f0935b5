package lineage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/histfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// History is the meaning of an Open for the history of a storage.
//
// A storage that was restored, copied, moved or imported may lack transactions that
// clients have seen: they were committed after the copy was made. It must not be taken
// for the storage that had them. So it begins with an empty transaction of its own, later
// than all that was given out: clients whose caches are ahead can connect again, and drop
// them, because their last transaction is not of this history.
type History uint8

const (
	// Own is for serving or changing the storage: if it was brought back, it
	// begins with an empty transaction. Nobody has to say that it was: misc/history
	// tells a HOME from every copy of it.
	Own History = iota
	// Kept is for maintenance that commits nothing: no transaction
	// is added, and the next Open with Own finds out whether one is due.
	Kept
	// Copied is for adding transactions of another storage with their tids:
	// if there were any, the next Open with Own begins a history.
	Copied
	// Read is for serving a storage to clients that only read: as with Kept,
	// but a history that differs from its source begins, else caches would be believed.
	Read
)

// Config is the part of the storage that a Lineage needs.
type Config struct {
	Home    *home.Home
	Log     *slog.Logger
	Clock   func() time.Time
	State   *state.State
	Counted Counted
	Storage Beginner
	History History
}

// Counted tells up to which transaction misc/counts goes: *flush.Tally.
type Counted interface {
	// TID returns 0 if that is not known.
	TID() zodb.TID
}

// Beginner begins transactions.
type Beginner interface {
	Begin(ctx context.Context, meta zodb.TxnMeta, o zodb.BeginOptions) (zodb.Txn, error)
}

// Lineage tells a HOME from its copies, by the mark in misc/history. Inspect, Begin and End are
// for the open and the close of a storage; CopyingIn, DiffersFromSource and SameA may be
// called concurrently between these.
type Lineage struct {
	o      Config
	mark   histfile.Mark
	reason string   // why it is not that of this HOME; "" if it is
	past   zodb.TID // no less than all that is known to have been given out
	err    error    // why it cannot be told: then the next Open finds out

	copyMu sync.Mutex // guards all of it after Open
	copied bool       // see CopyingIn
}

// New returns a Lineage that has not been inspected.
func New(o Config) *Lineage { return &Lineage{o: o} }

// Inspect looks whether the mark is that of this HOME, before anything is
// changed. Whether it fits the last transaction is seen by SameA.
func (l *Lineage) Inspect() {
	backedUp, unknown := l.backedUpTID()
	defer func() {
		if l.err == nil { // a history that begins before that transaction gives its tids out again
			l.err = unknown
		}
	}()
	l.past = max(l.o.Counted.TID(), backedUp)
	mark, err := histfile.Read(l.o.Home.FS)
	if errors.Is(err, fs.ErrNotExist) {
		l.reason = "there is no " + histfile.Name
		return
	}
	if meaningless, ok := errors.AsType[*histfile.MeaninglessError](err); ok {
		l.reason = meaningless.Error()
		return
	}
	if err != nil {
		l.err = err
		return
	}
	l.mark = mark
	l.past = max(l.past, l.mark.TID, l.mark.Past)
	file, err := vfs.Identify(l.o.Home.FS, histfile.AnchorNames()[l.mark.Anchor])
	switch {
	case l.mark.Differs && !l.mark.Due:
		l.reason = "it was imported, and differs from its source"
	case l.mark.Identity != l.o.Home.Identity:
		l.reason = histfile.Name + " is of another storage"
	case errors.Is(err, fs.ErrNotExist):
		l.reason = "the file that belongs to " + histfile.Name + " is missing"
	case err != nil:
		l.err = err
	case file != l.mark.File:
		l.reason = "this HOME is a copy"
	default:
		a, err := l.identifyA()
		if l.err = err; err == nil && a != l.mark.A {
			l.reason = "another A is in the place of the one that was there"
		}
	}
}

func (l *Lineage) identifyA() (vfs.Identity, error) {
	a, err := vfs.Identify(l.o.Home.FS, string(store.A))
	a.Changed = 0 // with each name in it
	return a, err
}

// backedUpTID returns the last transaction of the newest backup that misc/backed-up tells of, 0 if
// there is none.
func (l *Lineage) backedUpTID() (newest zodb.TID, err error) {
	b, err := l.o.Home.FS.ReadFile(backedUpFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		digits, _, _ := strings.Cut(line, " ")
		if tid, err := zodb.ParseTID(digits); err == nil { // one that means nothing vouches for nothing
			newest = max(newest, tid)
		}
	}
	return newest, nil
}

// Begin makes sure that the history is one of its own: see [History]. It is
// called by Open, when transactions can be committed and nobody else can have begun
// one. If the empty transaction cannot be committed, the open goes on: no
// client is told anything wrong without it, and the next Open tries it again. Only where
// the storage differs from its source nothing else keeps caches from being believed.
func (l *Lineage) Begin(ctx context.Context) error {
	last := l.o.State.LastTID()
	if l.reason == "" && l.past > last {
		l.reason = fmt.Sprintf("transaction %s was there already", l.past)
	}
	switch {
	case l.o.History == Kept || l.o.History == Copied || l.o.History == Read && !l.mark.Differs:
		return nil
	case l.err != nil:
		l.o.Log.Warn("it cannot be told whether this HOME was brought back; the next start finds out", "err", l.err)
		return unlessItDiffers(l.mark.Differs, l.err)
	}
	var asRestored zodb.TID
	if l.mark.Restored == last && l.mark.Identity == l.o.Home.Identity {
		asRestored = last // then the backups are those that the restore has handed on
	}
	if l.reason != "" && asRestored == 0 {
		l.doubtBackups()
	}
	reason, due, differs := l.reason, l.reason != "" && last != 0, l.mark.Differs
	if l.reason == "" && l.mark.Due && l.mark.TID == last {
		reason, due = "an Open was interrupted when it was to begin", true
	} else if due && !l.Note(histfile.Mark{TID: last, Due: true, Differs: differs, Past: l.past, Restored: asRestored}) {
		return unlessItDiffers(differs, fmt.Errorf("%s cannot be written", l.o.Home.FS.Path(histfile.Name)))
	}
	if due {
		// The evidence that it is due has to be durable before it: also the mark of a
		// killed process, and a new directory misc.
		if err := l.sync(); err != nil {
			l.o.Log.Warn("the empty transaction with which this history begins is put off to the next start", "reason", reason, "err", err)
			return unlessItDiffers(differs, err)
		}
	}
	if due {
		tid, err := l.commitBeginning(ctx, max(last, l.past), differs)
		if err != nil {
			if ctx.Err() == nil { // else the caller of the open has given it up
				l.o.Log.Warn("could not commit the empty transaction with which this history begins; the next start tries it again", "reason", reason, "err", err)
			}
			return unlessItDiffers(differs, err)
		}
		l.o.Log.Info("a history of its own begins", "reason", reason, "tid", tid, "after", last)
	}
	l.reason, l.mark.Due = "", false // if it cannot be noted now, Close tries it again
	l.Note(histfile.Mark{TID: l.o.State.LastTID()})
	return nil
}

func unlessItDiffers(differs bool, err error) error {
	if !differs {
		return nil
	}
	return fmt.Errorf("the storage differs from the source of its import, and the transaction that tells clients to drop their caches cannot be committed: %w", err)
}

// commitBeginning commits the empty transaction, later than all that is known to have been given out.
func (l *Lineage) commitBeginning(ctx context.Context, past zodb.TID, anew bool) (zodb.TID, error) {
	text := histfile.Begins
	if anew {
		text = histfile.BeginsAnew
	}
	t, err := l.o.Storage.Begin(ctx, zodb.TxnMeta{Description: []byte(text)}, zodb.BeginOptions{TID: beginningTID(l.o.Clock(), past)})
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
	if past > state.LatestTID-4*minute {
		return past + 1
	}
	return past + minute + zodb.TID(rand.Uint32())
}

// Note writes a mark, with a new file beside it: a HOME that is put back over this one
// later differs from both. It reports whether it did.
func (l *Lineage) Note(m histfile.Mark) bool {
	m.Identity, m.Anchor = l.o.Home.Identity, 1-l.mark.Anchor
	if err := l.write(&m); err != nil {
		l.o.Log.Warn("cannot write the mark of this storage's history; the next start takes it for a copy", "path", histfile.Name, "err", err)
		return false
	}
	l.mark, l.reason = m, ""
	return true
}

func (l *Lineage) write(m *histfile.Mark) error {
	anchor := histfile.AnchorNames()[m.Anchor]
	var err error
	if m.A, err = l.identifyA(); err != nil {
		return err
	}
	if err := l.o.Home.FS.Remove(anchor); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_, err = vfs.Put(l.o.Home.FS, anchor, []byte("no copy of this file is the same: see misc/history\n"), l.o.Home.Sync().File)
	if err != nil {
		return err
	}
	if l.o.Home.Sync().Dir { // the mark must not be there without it
		if err := l.o.Home.FS.SyncDir("misc"); err != nil {
			return err
		}
	}
	if m.File, err = vfs.Identify(l.o.Home.FS, anchor); err != nil {
		return err
	}
	if err := histfile.Write(l.o.Home.FS, *m, l.o.Home.Sync()); err != nil {
		return err
	}
	if err := l.o.Home.FS.Remove(histfile.AnchorNames()[1-m.Anchor]); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sync makes the names of the mark and of the files that belong to it durable.
func (l *Lineage) sync() error {
	if !l.o.Home.Sync().Dir {
		return nil
	}
	return errors.Join(l.o.Home.FS.SyncDir("misc"), l.o.Home.FS.SyncDir("."))
}

// CopyingIn forgets the mark, durably, before the first transaction of another storage
// is added by an Open with Copied.
func (l *Lineage) CopyingIn() error {
	if l.o.History != Copied {
		return nil
	}
	l.copyMu.Lock()
	defer l.copyMu.Unlock()
	if l.copied {
		return nil
	}
	var err error
	if !l.mark.Differs {
		err = l.forget()
	} else if l.mark.Due { // after a transaction that will not be the last one
		err = l.noteDiffers()
	}
	if err != nil {
		return err
	}
	l.reason, l.copied = "transactions of another storage were copied into it", true
	return nil
}

// DiffersFromSource is called after an Open with Copied before a transaction is added that is
// not as the source has it: parts are missing or damaged, or its tid differs. Caches of
// clients of the source are wrong for this storage then, though it has the same tids. It is remembered, durably, for the Open
// that begins the history: see [histfile.IsAnew].
func (l *Lineage) DiffersFromSource() error {
	if err := l.CopyingIn(); err != nil {
		return err
	}
	l.copyMu.Lock()
	defer l.copyMu.Unlock()
	if l.o.History != Copied || l.mark.Differs {
		return nil
	}
	return l.noteDiffers()
}

// noteDiffers writes a mark that is of no storage.
func (l *Lineage) noteDiffers() error {
	m := histfile.Mark{Differs: true}
	if err := histfile.Write(l.o.Home.FS, m, l.o.Home.Sync()); err != nil {
		return err
	}
	l.mark = m
	return l.sync()
}

// forget removes the mark, durably.
func (l *Lineage) forget() error {
	err := l.o.Home.FS.Remove(histfile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && l.o.Home.Sync().Dir {
		err = l.o.Home.FS.SyncDir("misc")
	}
	return err
}

// End is called by Close, when nobody can commit any more: a copy that was made
// before, and is put back later, is older than the mark.
func (l *Lineage) End() {
	l.copyMu.Lock()
	defer l.copyMu.Unlock()
	if l.err != nil || l.reason != "" || l.mark.Due || l.o.State.Failure() != nil {
		return
	}
	l.Note(histfile.Mark{TID: l.o.State.LastTID()})
}

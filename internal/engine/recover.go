package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// recover rolls forward after the last run. The locks are held. The order:
//
//  0. Everything that exists is made durable. The last process may have been killed, and
//     its changes are believed from now on, although some may be in memory only: directories
//     that it made, files that it moved from B to A, links that its pack has set, an
//     x.serial.
//  1. The journal is read and judged, and nothing is changed: a
//     transaction that is not later than x.serial must be in A or B already,
//     byte by byte; one that is not there means that A and the journal are not
//     of one piece (A restored from a backup, say), and Open refuses.
//  2. If A was a snapshot, the floor of time stamps rises: somebody may have
//     copied it while the storage was closed. Then misc/snapshot is removed,
//     durably, unless somebody holds the sublock.
//  3. Directories that the original left in journal/ go into B, oldest first,
//     and its replica.tar into A. These are few files.
//  4. The log's transactions go into the index, as if they had just been
//     published; the worker flushes them. Nothing is copied.
//  5. Files that no transaction refers to are removed from journal/.
//
// B is moved into A by the worker afterwards. A crash during any of this leaves
// a state from which the same steps lead to the same end.
func (s *Storage) recover(ctx context.Context) error {
	if err := s.store.SyncFound(); err != nil {
		return fmt.Errorf("make the existing files durable: %w", err)
	}
	originals, err := journal.ReadOriginal(s.home.FS, home.JournalDir)
	if err != nil {
		return err
	}
	if err := s.readMarks(); err != nil {
		return err
	}
	if err := s.checkOriginals(originals); err != nil {
		return err
	}
	log, found, err := journal.Open(s.journalOptions())
	if err != nil {
		return err
	}
	s.journal = log
	s.Use(log)
	s.space.Use(log)
	s.txns.Use(log)
	err = s.rollForward(ctx, originals, found)
	if err != nil {
		err = errors.Join(err, log.Close())
	}
	return err
}

func (s *Storage) rollForward(ctx context.Context, originals *journal.Original, found *journal.Recovered) error {
	pending, err := s.pending(found.Transactions, s.reach())
	if err != nil {
		return err
	}
	if !originals.Empty() && len(pending) > 0 {
		return fmt.Errorf("%w: %s holds both a log and directories that an original DirectoryStorage left; both formats at once are impossible", zodb.ErrJournalOlder, home.JournalDir)
	}
	if _, err := s.home.FS.Stat(snapshotFile); err == nil {
		if err := s.snapshots.RaiseFloor(s.o.Clock()); vfs.FaultOf(err) == vfs.FullFault {
			s.snapshots.StayInSnapshot(err)
		} else if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.state.HoldsSublock() {
		if err := snapfile.Remove(s.home.FS, s.home.Sync()); err != nil {
			return err
		}
		// B has to be looked at, at least. Until it is known to be empty, nothing may be
		// flushed into A: the files in B would hide it, and later replace it.
		s.state.StartMerge()
	} else if err := s.snapshots.Startup(); err != nil {
		return err
	}
	if err := s.applyOriginals(ctx, originals); err != nil {
		return err
	}
	now, flushed := s.o.Clock(), s.state.FlushedTID()
	for _, c := range pending {
		c.At = now
		s.oids.Raise(c.MaxOID)
		for i := range c.Records {
			s.oids.Raise(c.Records[i].OID)
		}
	}
	s.state.Recover(pending)
	s.rolled += len(pending)
	s.space.FlushCrowd()
	// Those that are flushed already have nothing to do in the log any more.
	for _, c := range found.Transactions {
		if c.TID <= flushed {
			if err := s.journal.Release(c.TID); err != nil {
				return err
			}
		}
	}
	s.state.StartCounts(s.tally.Load(flushed, pending))
	return s.removeStrays()
}

// pending returns the transactions of the log that are not in A or B yet. reach is that of the store
// before anything else was read: files that another process flushes meanwhile are not an older copy.
func (s *Storage) pending(found []*journal.Committed, reach zodb.TID) ([]*state.Committed, error) {
	var pending []*state.Committed
	flushed := s.state.FlushedTID()
	last := flushed
	// Objects that will be flushed once more: their files of class Minimal in A may be
	// from an interrupted flush.
	rewritten := make(map[zodb.OID]bool)
	for _, f := range found {
		for i := range f.Records {
			if !s.home.Full && f.TID > flushed {
				rewritten[f.Records[i].OID] = true
			}
		}
	}
	for _, f := range found {
		c := &state.Committed{Committed: *f}
		c.Measure(s.store.Cost)
		if c.TID <= flushed {
			flushedToo, err := s.isFlushed(c, rewritten)
			if err != nil {
				return nil, err
			}
			if !flushedToo && c.TID > s.Packed() {
				return nil, fmt.Errorf("%w: the log holds transaction %s, which A lacks, although its last one is %s; "+
					"A was probably replaced by a copy: open that copy with an empty journal, and this journal with the A that it belongs to",
					zodb.ErrJournalOlder, c.TID, flushed)
			}
			continue
		}
		if !c.Follows(last) {
			return nil, fmt.Errorf("%w: the log's transaction %s follows %s, but the last one before it here is %s; "+
				"A was probably replaced by a copy: open that copy with an empty journal, and this journal with the A that it belongs to",
				zodb.ErrJournalOlder, c.TID, c.Previous, last)
		}
		last = c.TID
		pending = append(pending, c)
	}
	return pending, ofOneHistory(last, reach)
}

// reach returns the last transaction that the store would take for one of its own; 0 if it goes by
// x.serial.
func (s *Storage) reach() zodb.TID {
	if r, ok := s.store.(store.Reacher); ok {
		return r.Reach()
	}
	return 0
}

// ofOneHistory returns an error if A has files of later transactions than there are, and the store
// would take these for the current ones.
func ofOneHistory(last, reach zodb.TID) error {
	if reach <= last {
		return nil
	}
	return fmt.Errorf("%w in A/x.serial: the last transaction is %s, and there are files of later ones, up to %s, which nobody could tell from those of this storage: "+
		"an older copy was probably put over a newer HOME. Move the files out of A that the copy does not have (rsync --delete), in A/bundles those with a later tid in their names. "+
		"If x.serial is too old: move it away, and dirstorage salvage makes it again", zodb.ErrCorrupt, last, reach)
}

// isFlushed reports whether a transaction is in A or B. Of class Minimal, objects
// that are rewritten are not looked at.
func (s *Storage) isFlushed(c *state.Committed, rewritten map[zodb.OID]bool) (bool, error) {
	if !s.home.Full {
		for i := range c.Records {
			if rewritten[c.Records[i].OID] {
				continue
			}
			o, err := s.FromFile(layout.Object(c.Records[i].OID), c.Records[i].OID, 0)
			if errors.Is(err, zodb.ErrNotFound) || err == nil && o.Serial < c.TID {
				return false, nil
			}
			if err != nil {
				return false, err
			}
		}
		return true, nil
	}
	t, err := s.TransactionFile(c.TID)
	if errors.Is(err, zodb.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want := c.File()
	want.Previous = t.Previous // a pack may have linked it to another one
	return bytes.Equal(mustAppend(want), mustAppend(t)), nil
}

// mustAppend encodes a transaction that was decoded, and so has legal lengths.
func mustAppend(t *record.Transaction) []byte {
	b, err := t.Append(nil, record.NoSum)
	if err != nil {
		panic(fmt.Sprintf("transaction %s cannot be encoded: %v", t.TID, err))
	}
	return b
}

// checkOriginals refuses directories of the original whose transactions are
// older than the database.
func (s *Storage) checkOriginals(o *journal.Original) error {
	flushed := s.state.FlushedTID()
	var last zodb.TID // the newest, with which x.serial may have been moved to A already
	for _, d := range o.Done {
		if len(d.Names) > 0 {
			last = max(last, d.TID)
		}
	}
	among := false
	for _, d := range o.Done {
		among = among || d.TID == flushed
	}
	for _, d := range o.Done {
		if len(d.Names) > 0 && d.TID <= flushed && !among {
			return fmt.Errorf("%w: %s/%s is not newer than the last transaction of the database, %s; "+
				"A was probably replaced by a copy. Move that directory out of the journal to open the database as it is in A",
				zodb.ErrJournalOlder, home.JournalDir, d.Dir, flushed)
		}
	}
	if o.Replica != "" && (len(o.Done) > 0 || len(o.Temps) > 0) {
		return fmt.Errorf("%w: %s/%s must be alone there", zodb.ErrJournalOlder, home.JournalDir, o.Replica)
	}
	return nil
}

// removeStrays removes from journal/ the files of earlier runs that no transaction refers
// to.
func (s *Storage) removeStrays() error {
	wanted := make(map[string]bool)
	for _, c := range s.state.Unflushed() {
		for i := range c.Records {
			if c.Records[i].Blob {
				wanted[c.Records[i].BlobFile] = true
			}
		}
	}
	var strays []string
	for e, err := range s.home.FS.List(home.JournalDir) {
		if err != nil {
			return err
		}
		name := path.Join(home.JournalDir, e.Name)
		if !wanted[name] && journal.IsStaged(e.Name) {
			strays = append(strays, name)
		}
	}
	for _, name := range strays {
		if err := s.home.FS.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Storage) journalOptions() journal.Options {
	return journal.Options{FS: s.home.FS, Identity: s.home.IdentityBytes(), Dir: home.JournalDir, SegmentSize: s.o.SegmentSize, Logger: s.log,
		Sync: s.home.Settings.Filesystem.Sync, DirSync: s.home.Settings.Filesystem.Sync && s.home.Settings.POSIX.DirSync}
}

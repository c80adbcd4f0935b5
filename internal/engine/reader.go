package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/zodb"
)

// A read-only storage takes no lock, so another process may flush, recombine and
// pack while it is opened and read. What is read in several steps then may not fit
// together: a log that was read after x.serial may lack what was flushed between the
// two. Nothing of that is damage. So what looks wrong is read again, and believed
// only if nothing has moved meanwhile: x.serial, x.packed, and the log.

// maxReaderAttempts bounds the repetitions, and readerPause is between them.
const (
	maxReaderAttempts = 100
	readerPause       = 2 * time.Millisecond
)

// openReader is Open for Options.ReadOnly: the same, and nothing is written. With an
// error nothing is left open.
func (s *Storage) openReader(ctx context.Context) error {
	moved, before := "", ""
	for attempt := 1; ; attempt++ {
		err := s.readAll()
		if err == nil {
			return nil
		}
		err = errors.Join(err, s.closeReader())
		s.read = nil
		s.state.Forget()
		now := s.moves()
		// The same twice, and nothing has moved between.
		if attempt == maxReaderAttempts || err.Error() == before && now == moved {
			return err
		}
		before, moved = err.Error(), now
		select {
		case <-time.After(readerPause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// moves returns what changes whenever another process moves something that a reader
// may be about to read.
func (s *Storage) moves() string {
	var b strings.Builder
	for _, n := range []layout.Name{layout.XSerial, layout.XPacked} {
		data, where, err := s.store.Get(n)
		fmt.Fprintf(&b, "%x %s %v\n", data, where, err)
	}
	return b.String()
}

// readAll reads the marks and the log, and judges whether they fit.
func (s *Storage) readAll() error {
	if err := s.readMarks(); err != nil {
		return err
	}
	log, found, err := journal.OpenReadOnly(s.journalOptions())
	if errors.Is(err, fs.ErrNotExist) {
		s.state.StartCounts(s.loadCounts(s.state.FlushedTID(), nil))
		return nil
	}
	if err != nil {
		return err
	}
	s.read = log
	originals, err := journal.ReadOriginal(s.fs, journalDir)
	if err != nil {
		return err
	}
	if !originals.Empty() {
		return fmt.Errorf("%w: %s holds transactions of an original DirectoryStorage", zodb.ErrNeedsRecovery, s.fs.Path(journalDir))
	}
	pending, err := s.judge(found.Transactions)
	if err != nil {
		return err
	}
	s.state.Recover(pending)
	for _, c := range pending {
		s.raiseOID(c.MaxOID)
	}
	s.state.StartCounts(s.loadCounts(s.state.FlushedTID(), pending))
	if b, serr := s.fs.ReadFile(snapshotFile); serr == nil {
		if code, ok := strings.CutPrefix(string(b), string(state.ModeUser)+"/"); ok {
			s.state.StartBeside(code)
		}
	}
	return nil
}

// settledBeside is [Storage.settled] for a storage that is read-only.
func (s *Storage) settledBeside(ctx context.Context, read func() error) error {
	err := read()
	if err == nil {
		return nil
	}
	for range maxReaderAttempts {
		before := s.moves()
		if err = read(); err == nil || s.moves() == before {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// flushedMeanwhile reads a revision that was in the log when this read-only storage was
// opened. The process that writes here has flushed it since, and used its place in the
// log again, or the log cannot be read; cause says which.
func (s *Storage) flushedMeanwhile(oid zodb.OID, tid zodb.TID, cause error) (*record.Object, error) {
	n, serial := layout.Revision(oid, tid), tid
	if !s.full {
		n, serial = layout.Object(oid), 0 // or a later one, which is all that this class keeps
	}
	o, err := s.fromFile(n, oid, serial)
	if errors.Is(err, zodb.ErrNotFound) && s.packedAway(tid) {
		return nil, &zodb.KeyError{OID: oid, TID: tid, Reason: "another process has packed this revision away since this one opened the storage read-only; open it again"}
	}
	if err == nil && o.Serial < tid {
		return nil, cause
	}
	if errors.Is(err, zodb.ErrNotFound) {
		return nil, cause
	}
	return o, err
}

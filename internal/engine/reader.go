package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/home"
	"github.com/dirstorage/dirstorage/internal/engine/read"
	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/journal"
	"github.com/dirstorage/dirstorage/zodb"
)

// A read-only storage takes no lock, so another process may flush, recombine and pack
// while it is opened. A log that was read after x.serial may lack transactions that were
// flushed between the two. That is not damage. So an open that fails is repeated, and its
// error is believed only if nothing has moved meanwhile: x.serial, x.packed, and the log.

// openReader is Open for Options.ReadOnly: the same, and nothing is written. With an
// error nothing is left open.
func (s *Storage) openReader(ctx context.Context) error {
	moved, before := "", ""
	for attempt := 1; ; attempt++ {
		err := s.readAll()
		if err == nil {
			return nil
		}
		err = errors.Join(err, s.forgetJournal())
		s.state.Forget()
		now := s.Moves()
		// The same twice, and nothing has moved between.
		if attempt == read.MaxAttempts || err.Error() == before && now == moved {
			return err
		}
		before, moved = err.Error(), now
		select {
		case <-time.After(read.Pause):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// forgetJournal closes the journal of an attempt that failed. The store is for the next one, too.
func (s *Storage) forgetJournal() (err error) {
	if s.beside != nil {
		err = s.beside.Close()
	}
	s.beside = nil
	s.Use(nil)
	return err
}

// readAll reads the marks and the log, and judges whether they fit.
func (s *Storage) readAll() error {
	reach := s.reach()
	if err := s.readMarks(); err != nil {
		return err
	}
	log, found, err := journal.OpenReadOnly(s.journalOptions())
	if errors.Is(err, fs.ErrNotExist) {
		s.state.StartCounts(s.tally.Load(s.state.FlushedTID(), nil))
		return nil
	}
	if err != nil {
		return err
	}
	s.beside = log
	s.Use(log)
	originals, err := journal.ReadOriginal(s.home.FS, home.JournalDir)
	if err != nil {
		return err
	}
	if !originals.Empty() {
		return fmt.Errorf("%w: %s holds transactions of an original DirectoryStorage", zodb.ErrNeedsRecovery, s.home.FS.Path(home.JournalDir))
	}
	pending, err := s.pending(found.Transactions, reach)
	if err != nil {
		return err
	}
	s.state.Recover(pending)
	for _, c := range pending {
		s.oids.Raise(c.MaxOID)
	}
	s.state.StartCounts(s.tally.Load(s.state.FlushedTID(), pending))
	if b, serr := s.home.FS.ReadFile(snapshotFile); serr == nil {
		if code, ok := strings.CutPrefix(string(b), string(state.ModeUser)+"/"); ok {
			s.state.StartBeside(code)
		}
	}
	return nil
}

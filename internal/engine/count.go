package engine

import (
	"context"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

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
	s.tally.Replace(n, before)
	return s.Counts(), nil
}

// countFiles counts the files in A, or in A and B.
func (s *Storage) countFiles(ctx context.Context, sides ...store.Side) (zodb.Counts, error) {
	n, err := s.store.Count(ctx, sides...)
	if err != nil {
		return zodb.Counts{}, fmt.Errorf("count files: %w", err)
	}
	counts := state.CountsOf(n)
	counts.Exact = true
	return counts, nil
}

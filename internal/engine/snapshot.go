package engine

import (
	"context"

	"github.com/dirstorage/dirstorage/zodb"
)

// Flush returns when everything that was committed before is in A, or in B
// while the storage is in snapshot mode, and durable.
func (s *Storage) Flush(ctx context.Context) error { return s.state.WaitFlushed(ctx) }

// WaitNormal returns when the storage is not in snapshot mode and B is empty.
func (s *Storage) WaitNormal(ctx context.Context) error { return s.state.WaitNormal(ctx) }

// EnterSnapshot puts the storage into snapshot mode: see [flush.Snapshots.Enter].
func (s *Storage) EnterSnapshot(ctx context.Context, code string) error {
	return s.snapshots.Enter(ctx, code)
}

// LeaveSnapshot ends the snapshot mode that was entered under that code: see
// [flush.Snapshots.Leave].
func (s *Storage) LeaveSnapshot(_ context.Context, code string) error { return s.snapshots.Leave(code) }

// EndSnapshot is LeaveSnapshot for an owner that holds the sublock itself: see
// [flush.Snapshots.End].
func (s *Storage) EndSnapshot(_ context.Context, code string) error { return s.snapshots.End(code) }

// AbandonSnapshot makes the storage leave snapshot mode by itself, once the sublock is free,
// if it is in it under that code: see [flush.Snapshots.Abandon].
func (s *Storage) AbandonSnapshot(code string) { s.snapshots.Abandon(code) }

// WhyStill returns why A stands still since the open: an error that matches zodb.ErrDiskFull, or
// zodb.ErrLocked if somebody holds misc/sublock; nil if it does not.
func (s *Storage) WhyStill() error { return s.state.WhyStill() }

// Counts returns how much the storage holds, unflushed transactions included.
// It costs nothing, however much that is, and may be called from the callback
// of Finish, whose transaction it includes then.
func (s *Storage) Counts() zodb.Counts { return s.tally.Counts() }

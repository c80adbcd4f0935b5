package metrics

import "time"

// Timings counts durations by size, since the start of the process.
type Timings struct {
	Bounds []time.Duration // ascending, each included in its count; the caller must not change them
	Counts []uint64        // one for each bound, and one for longer times
	Sum    time.Duration
}

// Totals is the work of a storage since the start of the process.
type Totals struct {
	Connections       int64 // open now
	Conflicts, Aborts uint64
	// Synced is how many transactions group commits have made durable.
	Synced                                    uint64
	Load, Vote, Commit, LockWait, Sync, Flush Timings
}

// Totals reads the counters. It waits for nothing.
func (s *Storage) Totals() Totals {
	return Totals{
		Connections: s.connections.Load(), Conflicts: s.conflicts.Load(), Aborts: s.aborts.Load(), Synced: s.synced.Load(),
		Load: s.load.timings(), Vote: s.vote.timings(), Commit: s.commit.timings(),
		LockWait: s.lockWait.timings(), Sync: s.fsync.timings(), Flush: s.flush.timings(),
	}
}

func (h *histogram) timings() Timings {
	t := Timings{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: time.Duration(h.sum.Load())}
	for i := range h.counts {
		t.Counts[i] = h.counts[i].Load()
	}
	return t
}

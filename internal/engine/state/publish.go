package state

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Start sets the last transaction to that with which the files end. For the open alone.
func (s *State) Start(last zodb.TID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.flushed = last, last
}

// Recover adds transactions that were found in the journal, as if they had just been
// published. For the open alone.
func (s *State) Recover(list []*Committed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		s.index.add(c)
		s.last = c.TID
	}
}

// Forget takes back Start and Recover. For the open alone.
func (s *State) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index = index{keep: s.o.RecordMemory, minimal: s.o.Minimal}
	s.last, s.flushed = 0, 0
}

// FlushRecovered has the recovered transactions flushed at once; with first, before
// anything else is committed. For the open alone.
func (s *State) FlushRecovered(first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushTo = s.last
	if first {
		s.crowd = s.last
	}
}

// Tail returns the transaction after which the next one is committed, and a *FailedError if
// none can be any more. The committer calls this; only it publishes.
func (s *State) Tail() (last zodb.TID, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.failure != nil {
		err = &zodb.FailedError{Cause: s.failure}
	}
	return s.last, err
}

// Publish makes transactions that are durable in the journal visible: all of them at once,
// for every later question. The room and memory that were promised to each are taken up by the journal then.
func (s *State) Publish(list []*Committed, claims []*Claim) {
	if s.publish(list, claims) {
		s.Wake()
	}
}

// publish reports whether the worker has to look for work. It knows when it has to at the latest
// from the first transaction on, and a commit does not pay for waking it in vain.
func (s *State) publish(list []*Committed, claims []*Claim) (wake bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := len(s.index.queue) == 0
	for i, c := range list {
		s.release(claims[i], math.MaxInt64)
		s.index.add(c)
		s.last = c.TID
	}
	s.snap.newer += int64(len(list))
	s.version.Add(1)
	s.signal()
	due, _ := s.flushDue(s.o.Clock())
	return first || due
}

// flushBytes of data in the journal start a flush, beside the thresholds of
// config/settings, which count files and transactions of any size.
const flushBytes = 64 << 20

// NextBatch returns the transactions of one flush: the oldest, up to a tid and to the size
// of a batch. One that is larger than a whole batch is a batch of its own.
func (s *State) NextBatch(upTo zodb.TID) []*Committed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	files, n := 0, 0
	for _, c := range s.index.queue {
		if c.TID > upTo || n > 0 && (n >= 4*s.o.Journal.FlushTransactionThreshold || files+c.Work > 4*s.o.Journal.FlushFileThreshold) {
			break
		}
		files += c.Work
		n++
	}
	return slices.Clone(s.index.queue[:n])
}

// Oldest returns the n oldest unflushed transactions.
func (s *State) Oldest(n int) []*Committed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.index.queue[:n])
}

// BeginFlush notes the batch that is flushed now, and returns where it goes.
func (s *State) BeginFlush(batch []*Committed) store.Side {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun(batch)
	if s.snap.toB {
		return store.B
	}
	return store.A
}

// EndFlush notes that no batch is being flushed.
func (s *State) EndFlush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun(nil)
}

// begun notes the batch that is flushed now; none when it is done. mu must be held.
func (s *State) begun(batch []*Committed) {
	s.Progress.Reset()
	f := &s.pace.flushing
	f.transactions, f.files, f.bytes = len(batch), 0, 0
	for _, c := range batch {
		f.files += c.Work
		f.bytes += c.Bytes
	}
}

// Flushed forgets the oldest transactions, which are in files and durable now, and sets the
// flushed counts. Right before the index forgets them, the cache learns the revisions in the
// files, so nobody finds an older revision in between. Those that wait for the flush go on
// after all of it. took is how long the flush took.
func (s *State) Flushed(batch []*Committed, counts zodb.Counts, took time.Duration) {
	files := 0
	for _, c := range batch {
		files += c.Work
	}
	s.forgetting.Lock()
	defer s.forgetting.Unlock()
	s.tellCache(batch)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.drop(len(batch))
	s.generation++
	s.begun(nil)
	s.pace.measure(files, took)
	s.counts, s.flushed = counts, batch[len(batch)-1].TID
	s.passed()
	s.version.Add(1)
	s.signal()
}

// tellEvery is how many objects the cache is told of at a time.
const tellEvery = 1000

// tellCache tells the cache the revisions in the files of a batch. forgetting must be
// held.
func (s *State) tellCache(batch []*Committed) {
	generation := s.generation + 1 // which only changes while forgetting is held
	newest := make(map[zodb.OID]*record.Object)
	for _, c := range batch {
		for i := range c.Records {
			newest[c.Records[i].OID] = c.Revision(i).Object
			if len(newest) >= tellEvery {
				s.o.Cache.Replace(newest, generation)
				clear(newest)
			}
		}
	}
	s.o.Cache.Replace(newest, generation)
}

// ForgetCached removes objects from the cache whose files are changed by something else
// than a flush. A read that began before may still get the former revision; nothing that
// was looked up before gets into the cache any more.
func (s *State) ForgetCached(oids ...zodb.OID) {
	gone := make(map[zodb.OID]*record.Object, len(oids))
	for _, oid := range oids {
		gone[oid] = nil
	}
	s.forgetting.Lock()
	defer s.forgetting.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.o.Cache.Replace(gone, s.generation)
}

// WaitFlushed has everything that is published now flushed, and returns when it is. If the
// worker is in trouble it tries once more; the error is the obstacle that it met then,
// that of Writable, or that of ctx.
func (s *State) WaitFlushed(ctx context.Context) error {
	s.mu.Lock()
	target := s.last
	s.flushTo = max(s.flushTo, target)
	s.trouble.retryAt = time.Time{} // it may have passed: try at once
	before := s.trouble.tries
	s.mu.Unlock()
	s.Wake()
	return s.waitUntil(ctx, func() (bool, error) {
		if s.index.after(target) {
			return true, nil
		}
		if err := s.writable(); err != nil {
			return false, err
		}
		if tr := &s.trouble; tr.cause != nil && tr.tries > before {
			return false, vfs.WithPassing(tr.cause)
		}
		return false, nil
	})
}

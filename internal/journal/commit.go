package journal

import (
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// CommitRecord makes a transaction that was appended a committed one.
type CommitRecord struct {
	Txn      *Pending
	TID      zodb.TID // later than all before
	Previous zodb.TID // the transaction before it; 0 = none
	MaxOID   zodb.OID // highest oid handed out
}

// Committed describes the transaction as recovery would find it. It is to be
// called after Commit, once; the records are those of Txn, not a copy.
func (c CommitRecord) Committed() *Committed {
	for i := range c.Txn.Records {
		c.Txn.Records[i].TID = c.TID
	}
	return &Committed{TID: c.TID, Previous: c.Previous, MaxOID: c.MaxOID, Meta: c.Txn.Meta, Packed: c.Txn.Packed, Records: c.Txn.Records}
}

// Commit commits a batch of transactions, in order: one write, one fdatasync.
// When it returns nil they are durable; this is the commit point. It is called
// by one goroutine at a time. After a *RefusedError none of them is, and the log is as
// it was. After another error of the disk they may be committed or not, which the next
// Open finds out; the log is poisoned then.
func (l *Log) Commit(batch []CommitRecord) error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err := l.writeCommits(batch); err != nil {
		return err
	}
	return l.syncCurrent()
}

// RefusedError is the result of a Commit that wrote nothing, because of an error that
// passes. The transactions are still open: they may be tried again or aborted.
type RefusedError struct {
	Cause error // see [vfs.Passes]
}

func (e *RefusedError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *RefusedError) Unwrap() error { return e.Cause }

// takeBack invalidates commit frames that were written in part, durably: n bytes at the end of the
// current segment. syncMu and mu must be held.
func (l *Log) takeBack(n int) error {
	if n == 0 {
		return nil
	}
	s := l.current()
	err := patiently(func() error {
		_, err := s.f.WriteAt(make([]byte, n), s.end.Load())
		return err
	})
	if err == nil {
		err = l.sync(s.f)
	}
	return err
}

func (l *Log) writeCommits(batch []CommitRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.checkBatch(batch); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if len(batch) == 0 {
		return nil
	}
	if err := l.payName(); err != nil {
		if l.failure == nil {
			err = &RefusedError{err}
		}
		return err
	}
	s := l.current()
	b := l.buf[:0]
	for _, r := range batch {
		c := commit{handle: r.Txn.handle, tid: r.TID, previous: r.Previous, maxOID: r.MaxOID, meta: r.Txn.meta, durable: l.durable}
		var payload [commitFixed]byte
		b = s.seal.appendFrame(b, s.end.Load()+int64(len(b)), frameCommit, c.append(payload[:0]))
	}
	l.buf = b[:0]
	if n, err := s.f.WriteAt(b, s.end.Load()); err != nil {
		err = fmt.Errorf("write commit frames: %w", err)
		if vfs.Passes(err) {
			terr := l.takeBack(n)
			if terr == nil {
				return &RefusedError{err}
			}
			err = errors.Join(err, fmt.Errorf("their commit frames could not be taken back, so the next open may find some of these transactions committed: %w", terr))
		}
		return l.poison(err)
	}
	s.end.Add(int64(len(b)))
	for _, r := range batch {
		r.Txn.state = pendingEnded
		l.pinned[r.TID] = r.Txn.segment
		l.last = r.TID
	}
	l.open -= len(batch)
	return nil
}

// checkBatch refuses a batch that recovery would not understand. mu must be held.
func (l *Log) checkBatch(batch []CommitRecord) error {
	last := l.last
	seen := make(map[*Pending]bool, len(batch))
	for _, r := range batch {
		if r.Txn.log != l || r.Txn.state != pendingOpen || seen[r.Txn] {
			return fmt.Errorf("transaction %s: %w: it is not appended", r.TID, zodb.ErrState)
		}
		seen[r.Txn] = true
		if r.TID <= r.Previous || r.Previous < last {
			return fmt.Errorf("transaction %s after %s: the last one is %s", r.TID, r.Previous, last)
		}
		last = r.TID
	}
	return nil
}

// GiveUpFound gives up the segments that were found at the open, if they were released and nothing
// was appended since. An append would do it, too, but takes room for a transaction; this takes one
// small file. An error that does not poison the log changes nothing.
func (l *Log) GiveUpFound() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil || l.begun || l.open > 0 || l.unpinned(len(l.segments)) == 0 {
		return err
	}
	return l.begin(minSegmentSize, 0)
}

// DropSpares removes the files that wait to be used again, when their room is needed elsewhere. An
// error leaves the rest of the log as it was.
func (l *Log) DropSpares() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.garbage = append(l.garbage, l.spares...)
	l.spares = nil
	return l.removeGarbage()
}

// Release tells that a committed transaction is durable in A or B and not
// needed here any more. Segments that become free are given up, oldest first;
// an error of that leaves the rest of the log usable, unless it is poisoned.
func (l *Log) Release(tid zodb.TID) error {
	l.mu.Lock()
	err := l.usable()
	s := l.pinned[tid]
	n := 0
	switch {
	case err != nil:
	case s == nil:
		err = fmt.Errorf("release %s: it is not in the log", tid)
	default:
		delete(l.pinned, tid)
		s.pins--
		if l.begun {
			n = l.unpinned(len(l.segments) - 1)
		}
	}
	l.mu.Unlock()
	if err != nil || n == 0 {
		return err
	}
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	if err := l.free(); err != nil {
		return fmt.Errorf("release %s: %w", tid, err)
	}
	return nil
}

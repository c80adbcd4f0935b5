package journal

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// room reports whether the current segment has room for the frames of one more
// transaction, its commit frame, the commit frames of all that are open, and a
// mark for each segment that may be given up while this one is the current,
// and one for Close. mu must be held.
func (l *Log) room(size int64) bool {
	if !l.begun {
		return false
	}
	s := l.current()
	return s.end.Load()+size+l.reserve(len(l.segments)) <= s.size
}

// reserve is the room for later small frames if there are n segments and one
// more transaction is opened.
func (l *Log) reserve(n int) int64 {
	return commitFrame*int64(l.open+1) + markFrame*int64(n+1)
}

// roll makes the current segment durable and starts the next one, with room for
// a transaction of that size. Without an error of the kind that poisons, the
// log is as it was if it fails. syncMu and mu must be held.
func (l *Log) roll(size int64) error {
	if !l.begun {
		return l.begin(l.o.SegmentSize, size)
	}
	s := l.current()
	if err := l.sync(s.f); err != nil {
		return l.poison(fmt.Errorf("make the log durable: %s: %w", s.path, err))
	}
	if l.o.Sync {
		l.durable = Position{s.seq, s.end.Load()}
	}
	return l.next(header{identity: l.o.Identity, seq: s.seq + 1, durable: l.o.Sync, previous: s.end.Load()}, l.o.SegmentSize, size)
}

// next makes a segment the current one, and gives up those that are not needed any
// more. syncMu and mu must be held.
func (l *Log) next(h header, size, txn int64) error {
	n := l.unpinned(len(l.segments))
	h.oldest = h.seq
	if n < len(l.segments) {
		h.oldest = l.segments[n].seq
	}
	s, err := l.makeSegment(h, size, txn)
	if err != nil {
		return err
	}
	l.add(s)
	if !l.begun {
		l.begun = true
		l.handle = h.seq << 32 // no other run of the log has used these
	}
	l.unnamed = true
	if l.o.Sync {
		l.durable = Position{s.seq, s.end.Load()}
	}
	if err := l.payName(); err != nil {
		return err
	}
	return l.giveUp(n)
}

// payName makes the name of the current segment durable, if it is not. Before that
// nothing is written behind its header. Where the directory could not even be opened,
// for want of a descriptor, the log is as it was, and the next call does it. syncMu and
// mu must be held.
func (l *Log) payName() error {
	if !l.unnamed {
		return nil
	}
	if err := l.syncDir(); err != nil {
		return l.poisonUnless(vfs.NotBegun(err), fmt.Errorf("make the names of the log durable: %w", err))
	}
	l.unnamed = false
	return nil
}

// smallerBy is how much smaller the next segment gets that a full disk has no room for. A small one
// leaves the room for what waits to be flushed.
const smallerBy = 64

// makeSegment makes a segment of that size, or a larger one if a transaction of some size needs
// it. On a full disk it is a smaller one, as long as there is room for that transaction. Its header is
// durable before it gets its name; the name is not durable yet. An error that passes leaves the log as it
// was. syncMu and mu must be held.
func (l *Log) makeSegment(h header, size, txn int64) (*segment, error) {
	least := headerSize + txn + l.reserve(len(l.segments)+1)
	size = max(size, least)
	f, spare, used, err := l.blank(size)
	for vfs.SaysFull(err) && vfs.Passes(err) && size > least {
		size = max(least, size/smallerBy)
		f, spare, used, err = l.blank(size)
	}
	if err != nil {
		return nil, fmt.Errorf("start a segment of the log: %w", err)
	}
	if _, err := f.WriteAt(h.append(nil), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("start a segment of the log: %w", err), l.discard(f, spare))
	}
	if err := l.sync(f); err != nil {
		err = fmt.Errorf("make the log durable: %s: %w", spare, err)
		if vfs.Passes(err) { // it is no segment yet
			return nil, errors.Join(err, l.discard(f, spare))
		}
		return nil, errors.Join(l.poison(err), f.Close())
	}
	name := l.o.path(segmentName(h.seq))
	if err := l.o.FS.Rename(spare, name); err != nil {
		err = fmt.Errorf("start a segment of the log: %w", err)
		serr := patiently(func() error { _, err := l.o.FS.Stat(name); return err })
		if vfs.Passes(err) && errors.Is(serr, fs.ErrNotExist) {
			return nil, errors.Join(err, l.discard(f, spare))
		}
		return nil, errors.Join(l.poison(err), f.Close())
	}
	next := newSegment(h.seq, name, f, newSeal(h.identity, h.seq), size, headerSize)
	next.written, next.made = headerSize, true
	if used {
		next.written = size
	}
	return next, nil
}

// blank returns a file of that size under the name of a spare: one that is
// there and whose blocks were used before, or a new one.
func (l *Log) blank(size int64) (f vfs.File, name string, used bool, err error) {
	if n := len(l.spares); n > 0 && size == l.o.SegmentSize {
		name = l.spares[n-1]
		f, err = l.o.FS.OpenWrite(name)
		if !vfs.Passes(err) {
			l.spares = l.spares[:n-1]
		}
		return f, name, true, err
	}
	_ = l.removeGarbage() // on a full disk its room is wanted; an error is reported when more is given up
	name = l.newSpareName()
	if f, err = l.o.FS.Create(name); err != nil {
		return nil, "", false, err
	}
	if err := f.Allocate(size); err != nil {
		return nil, "", false, errors.Join(err, l.discard(f, name))
	}
	return f, name, false, nil
}

const (
	// zeroAhead is how much of a new segment is filled with zeros at a time, before
	// there are frames.
	zeroAhead = 512 << 10
	// zeroFrom is how near to its end a vote fills the next piece.
	zeroFrom = 32 << 10
)

var zeros [zeroAhead]byte

// writeAhead makes the blocks right behind the end of a new segment used ones. A file system marks
// reserved space as unwritten, and the first fsync of each block has to change that mark on the
// disk, too: that made an fsync take about twice as long. The bytes written mean nothing, like
// those in a spare. mu must be held.
func (l *Log) writeAhead(s *segment) error {
	s.written = max(s.written, s.end.Load())
	n := min(zeroAhead, s.size-s.written)
	if !l.o.Sync || n <= 0 || s.end.Load()+zeroFrom < s.written {
		return nil
	}
	if _, err := s.f.WriteAt(zeros[:n], s.written); err != nil {
		return err
	}
	s.written += n
	return nil
}

func (l *Log) newSpareName() string {
	l.spareNo++
	return l.o.path(fmt.Sprintf("%s%d", sparePrefix, l.spareNo))
}

// discard drops a file that did not become a segment.
func (l *Log) discard(f vfs.File, name string) error {
	return errors.Join(f.Close(), l.o.FS.Remove(name))
}

// unpinned returns how many of the first n segments nobody needs, up to the
// first one that somebody does. mu must be held.
func (l *Log) unpinned(n int) int {
	for i, s := range l.segments[:n] {
		if s.pins > 0 {
			return i
		}
	}
	return n
}

// free gives up the oldest segments that nobody needs, after having made
// durable that they are not needed. syncMu must be held, mu must not.
func (l *Log) free() error {
	l.mu.Lock()
	err := l.usable()
	n := 0
	if err == nil && l.begun {
		if n = l.unpinned(len(l.segments) - 1); n > 0 {
			err = l.payName()
			if err == nil {
				err = l.writeMark(l.segments[n].seq)
			}
		}
	}
	l.mu.Unlock()
	if err != nil || n == 0 {
		return err
	}
	if err := l.syncCurrent(); err != nil {
		return err
	}
	// Meanwhile nobody can have pinned them: only the current one is written to.
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.giveUp(n)
}

// writeMark writes a mark frame. Its room is reserved. mu must be held.
func (l *Log) writeMark(oldest uint64) error {
	s := l.current()
	m := mark{oldest: oldest, durable: l.durable}
	b := s.seal.appendFrame(nil, s.end.Load(), frameMark, m.append(nil))
	if _, err := s.f.WriteAt(b, s.end.Load()); err != nil {
		return fmt.Errorf("mark the first segment still needed of the log: %w", err)
	}
	s.end.Add(int64(len(b)))
	return nil
}

// giveUp closes the first n segments and makes them spares, or removes them: those of
// a run before, too, since a copy of HOME may have left holes in them, where a full disk has
// no room for a commit. That they are not needed is durable. syncMu and mu must be held.
func (l *Log) giveUp(n int) error {
	var errs []error
	for _, s := range l.segments[:n] {
		errs = append(errs, l.closeSegment(s))
		if s.size != l.o.SegmentSize || !s.made || len(l.spares) >= l.o.Spares {
			l.garbage = append(l.garbage, s.path)
			continue
		}
		name := l.newSpareName()
		if err := l.o.FS.Rename(s.path, name); err != nil {
			errs = append(errs, err)
			l.garbage = append(l.garbage, s.path)
			continue
		}
		l.spares = append(l.spares, name)
	}
	l.segments = append(l.segments[:0:0], l.segments[n:]...)
	errs = append(errs, l.removeGarbage())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give up segments of the log: %w", err)
	}
	return nil
}

// removeGarbage removes files that mean nothing. Files that could not be removed are tried again
// with the next ones. syncMu must be held.
func (l *Log) removeGarbage() error {
	var errs []error
	var left []string
	for _, name := range l.garbage {
		if err := l.remove(name); err != nil {
			errs, left = append(errs, err), append(left, name)
		}
	}
	l.garbage = left
	return errors.Join(errs...)
}

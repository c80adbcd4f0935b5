package bundled

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// later is a revision that a cut leaves out.
type later struct {
	oid           zodb.OID
	tid, previous zodb.TID
}

func (l later) compare(other later) int {
	return cmp.Or(cmp.Compare(l.oid, other.oid), cmp.Compare(l.tid, other.tid))
}

const (
	laterSize  = 24
	runOfLater = 1 << 18 // that are sorted in memory: 6 MiB
)

// laterLog sorts such revisions, which may be more than memory holds: runs of them are in a file.
type laterLog struct {
	file vfs.File
	out  *bufio.Writer
	run  []later
	ends []int64 // of runs in the file, in bytes
}

func newLaterLog(f vfs.FS, name string) (*laterLog, error) {
	file, err := vfs.CreateAnew(f, name)
	if err != nil {
		return nil, err
	}
	return &laterLog{file: file, out: bufio.NewWriter(file)}, nil
}

// add notes one.
func (l *laterLog) add(e later) error {
	if l.run = append(l.run, e); len(l.run) < runOfLater {
		return nil
	}
	return l.endRun()
}

func (l *laterLog) endRun() error {
	slices.SortFunc(l.run, later.compare)
	for _, e := range l.run {
		b := binary.BigEndian.AppendUint64(e.tid.Append(e.oid.Append(nil)), uint64(e.previous))
		if _, err := l.out.Write(b); err != nil {
			return err
		}
	}
	end := int64(0)
	if len(l.ends) > 0 {
		end = l.ends[len(l.ends)-1]
	}
	l.ends = append(l.ends, end+int64(len(l.run))*laterSize)
	l.run = l.run[:0]
	return l.out.Flush()
}

// laterRun is how far a run was read.
type laterRun struct {
	in  *bufio.Reader
	now later
}

func (r *laterRun) next() (bool, error) {
	var b [laterSize]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, err
	}
	r.now = later{zodb.OIDFromBytes(b[:]), zodb.TIDFromBytes(b[8:]), zodb.TIDFromBytes(b[16:])}
	return true, nil
}

// laterRuns is a heap.
type laterRuns []*laterRun

// Len implements [heap.Interface].
func (r laterRuns) Len() int { return len(r) }

// Less implements [heap.Interface].
func (r laterRuns) Less(i, j int) bool { return r[i].now.compare(r[j].now) < 0 }

// Swap implements [heap.Interface].
func (r laterRuns) Swap(i, j int) { r[i], r[j] = r[j], r[i] }

// Push implements [heap.Interface].
func (r *laterRuns) Push(x any) { *r = append(*r, x.(*laterRun)) }

// Pop implements [heap.Interface].
func (r *laterRuns) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// sorted yields all of them, by oid and tid.
func (l *laterLog) sorted() iter.Seq2[later, error] {
	return func(yield func(later, error) bool) {
		if err := l.merge(yield); err != nil {
			yield(later{}, err)
		}
	}
}

func (l *laterLog) merge(yield func(later, error) bool) error {
	if err := l.endRun(); err != nil {
		return err
	}
	var runs laterRuns
	begin := int64(0)
	for _, end := range l.ends {
		r := &laterRun{in: bufio.NewReader(io.NewSectionReader(l.file, begin, end-begin))}
		begin = end
		more, err := r.next()
		if err != nil {
			return err
		}
		if more {
			runs = append(runs, r)
		}
	}
	heap.Init(&runs)
	for len(runs) > 0 {
		r := runs[0]
		if !yield(r.now, nil) {
			return nil
		}
		more, err := r.next()
		if err != nil {
			return err
		}
		if more {
			heap.Fix(&runs, 0)
		} else {
			heap.Pop(&runs)
		}
	}
	return nil
}

// close gives the file back.
func (l *laterLog) close() error { return l.file.Close() }

package refindex

import (
	"bufio"
	"container/heap"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"iter"
	"slices"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// writeRun sorts pairs and appends them to the temporary file. The caller owns
// runs and end.
func (w *Writer) writeRun(pairs []pair) error {
	slices.SortFunc(pairs, comparePairs)
	r := run{offset: w.end}
	var c coder
	b := make([]byte, 0, buffered)
	write := func() error {
		_, err := w.temp.WriteAt(b, w.end)
		w.end += int64(len(b))
		r.sum = crc32.Update(r.sum, castagnoli, b)
		b = b[:0]
		return err
	}
	for i, p := range pairs {
		if i > 0 && p == pairs[i-1] {
			continue
		}
		b = c.append(b, p)
		r.pairs++
		if len(b) > buffered-maxPair {
			if err := write(); err != nil {
				return err
			}
		}
	}
	err := write()
	r.length = w.end - r.offset
	w.runs = append(w.runs, r)
	return err
}

// source yields pairs in ascending order. ok is false at the end.
type source interface {
	next() (p pair, ok bool, err error)
}

type pairsInMemory struct{ rest []pair }

func (s *pairsInMemory) next() (p pair, ok bool, err error) {
	if len(s.rest) == 0 {
		return pair{}, false, nil
	}
	p, s.rest = s.rest[0], s.rest[1:]
	return p, true, nil
}

// runReader reads a run.
type runReader struct {
	run  run
	left int64 // pairs
	c    coder
	r    *bufio.Reader
	sum  hash.Hash32
}

func newRunReader(f vfs.File, r run, size int) *runReader {
	sum := crc32.New(castagnoli)
	section := io.TeeReader(io.NewSectionReader(f, r.offset, r.length), sum)
	return &runReader{run: r, left: r.pairs, r: bufio.NewReaderSize(section, size), sum: sum}
}

var errRun = errors.New("the temporary file is not as it was written")

func (s *runReader) next() (p pair, ok bool, err error) {
	if s.left == 0 {
		if _, err := s.r.ReadByte(); !errors.Is(err, io.EOF) || s.sum.Sum32() != s.run.sum {
			return pair{}, false, errors.Join(errRun, notEOF(err))
		}
		return pair{}, false, nil
	}
	s.left--
	if p, err = s.c.next(s.r); err != nil {
		return pair{}, false, errors.Join(errRun, err)
	}
	return p, true, nil
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// head is a source and the pair that comes next from it.
type head struct {
	p pair
	s source
}

type heads []head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return comparePairs(h[i].p, h[j].p) < 0 }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)        { *h = append(*h, x.(head)) }
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// merge yields the pairs of all sources in ascending order, each once.
func merge(sources []source) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		var h heads
		for _, s := range sources {
			p, ok, err := s.next()
			if err != nil {
				yield(pair{}, err)
				return
			}
			if ok {
				h = append(h, head{p, s})
			}
		}
		heap.Init(&h)
		var last pair
		for begun := false; len(h) > 0; begun = true {
			p := h[0].p
			if (!begun || p != last) && !yield(p, nil) {
				return
			}
			last = p
			next, ok, err := h[0].s.next()
			if err != nil {
				yield(pair{}, err)
				return
			}
			if ok {
				h[0].p = next
				heap.Fix(&h, 0)
			} else {
				heap.Pop(&h)
			}
		}
	}
}

package backup

import (
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/archive"
)

// Sums are the SHA-256 of some beginnings of an archive, as it was read. They say later whether an
// entry that was unpacked, and is proven by the sum of the whole archive alone, came of the same
// bytes. The methods may be called concurrently.
type Sums struct {
	mu   sync.Mutex
	ends []int64               // guarded by mu; ascending, those that are still to come
	of   map[int64]archive.Sum // guarded by mu
}

// NewSums returns those of the beginnings that end where frames begin, 60 bytes or so for each.
func NewSums(frames []archive.Frame) *Sums {
	s := &Sums{of: make(map[int64]archive.Sum)}
	for _, f := range frames {
		s.want(f.Offset)
	}
	return s
}

// want adds a beginning.
func (s *Sums) want(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, there := slices.BinarySearch(s.ends, end); !there {
		s.ends = slices.Insert(s.ends, i, end)
	}
}

// Of returns the sum of the bytes before an offset; zero if these were not read up to there, or
// were not wanted.
func (s *Sums) Of(end int64) archive.Sum {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[end]
}

// summingReader notes the sums of what is read from the beginning on.
type summingReader struct {
	*hashReader
	sums *Sums
}

// Read implements [io.Reader].
func (r *summingReader) Read(b []byte) (int, error) {
	if left := r.sums.note(r.hashReader); left > 0 {
		b = b[:min(int64(len(b)), left)]
	}
	n, err := r.hashReader.Read(b)
	r.sums.note(r.hashReader)
	return n, err
}

// note notes the sum if it is wanted, and returns how many bytes are left up to the next one that
// is; 0: there is none.
func (s *Sums) note(h *hashReader) (left int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ends) > 0 && s.ends[0] <= h.n {
		if s.ends[0] == h.n {
			s.of[h.n] = h.sum()
		}
		s.ends = s.ends[1:]
	}
	if len(s.ends) == 0 {
		return 0
	}
	return s.ends[0] - h.n
}

package bench

import (
	"math/bits"
	"time"
)

// Values are kept in buckets whose width is 1/64 of their values, or 1 ns.
const (
	subBits    = 6
	maxBits    = 42 // over an hour
	histBucket = (maxBits - subBits + 1) << subBits
)

// histogram counts durations with a precision of 1.6 %.
type histogram struct {
	counts [histBucket]uint32
	n      int64
	max    time.Duration
}

// bucket returns the index for a value.
func bucket(v uint64) int {
	if v < 2<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return min(shift<<subBits+int(v>>shift), histBucket-1)
}

// bottom returns the smallest value of a bucket.
func bottom(i int) uint64 {
	if i < 2<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return uint64(i-shift<<subBits) << shift
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// merge adds the counts of another histogram.
func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile returns the value below or at which the share q of all lies.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(int64(q*float64(h.n)+0.5), 1)
	for i, c := range h.counts {
		if rank -= int64(c); rank <= 0 {
			middle := time.Duration((bottom(i) + bottom(i+1)) / 2)
			return min(middle, h.max)
		}
	}
	return h.max
}

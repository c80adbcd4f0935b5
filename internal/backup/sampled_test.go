package backup

import (
	"math/rand/v2"
	"testing"

	"github.com/dirstorage/dirstorage/internal/archive"
)

// TestASampleIsAPercentageOfTheBytes, however many parts have them: no sample has less, none goes on with
// enough, and each part comes in the end.
func TestASampleIsAPercentageOfTheBytes(t *testing.T) {
	t.Parallel()
	const percent, small, large = 5, 40, 2000
	var parts []int64
	for range 60 {
		parts = append(parts, small)
	}
	parts = append(parts[:20:20], append([]int64{large}, parts[20:]...)...)
	var starts []archive.Frame
	total := int64(0)
	for _, n := range parts {
		starts = append(starts, archive.Frame{Offset: total, Start: true})
		total += n
	}
	times := make([]int, len(parts))
	for seed := range uint64(2000) {
		read, last := int64(0), int64(0)
		for _, i := range sampled(rand.New(rand.NewPCG(seed, 1)), starts, total, percent) {
			times[i]++
			last = parts[i]
			read += last
		}
		if want := total * percent / 100; read < want || read-last >= want {
			t.Fatalf("seed %d: %d of %d bytes are read, the last part has %d; want %d", seed, read, total, last, want)
		}
	}
	for i, n := range times {
		if n < 2000*percent/100/2 {
			t.Errorf("part %d of %d bytes is read in %d of 2,000 samples", i, parts[i], n)
		}
	}
	if got := sampled(rand.New(rand.NewPCG(1, 1)), starts, total, 100); len(got) != len(parts) {
		t.Errorf("all of it is %d of %d parts", len(got), len(parts))
	}
	if got := sampled(rand.New(rand.NewPCG(1, 1)), starts[:1], 1, 0.001); len(got) != 1 {
		t.Errorf("a little of one part is %d parts", len(got))
	}
}

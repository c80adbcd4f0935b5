package bundle

import (
	"testing"

	"github.com/dirstorage/dirstorage/zodb"
)

// heldWriter writes nothing until it is let go.
type heldWriter struct{ held chan struct{} }

// Write implements [io.Writer].
func (w heldWriter) Write(b []byte) (int, error) {
	<-w.held
	return len(b), nil
}

// TestLargeMembersDoNotWaitInNumbers: Options.Ahead is about bytes, so a frame of a large member counts
// as several. Some for each worker wait in any case, however large they are.
func TestLargeMembersDoNotWaitInNumbers(t *testing.T) {
	t.Parallel()
	const workers, slots, members = 2, 64, 16
	for _, c := range []struct{ size, ahead, want int }{
		{4*DefaultFrameSize - 2*tarBlock, slots * DefaultFrameSize, 4},
		{4 * DefaultFrameSize, slots * DefaultFrameSize, 5},
		{100 * DefaultFrameSize, slots * DefaultFrameSize, slots / (4 * workers)},
		{100 * DefaultFrameSize, 0, 1},
		{DefaultFrameSize / 2, slots * DefaultFrameSize, 1},
	} {
		to := heldWriter{make(chan struct{})}
		w, err := NewWriter(to, Options{Min: 1, Workers: workers, Ahead: c.ahead})
		if err != nil {
			t.Fatal(err)
		}
		add := func(from, to int) {
			for k := from; k < to; k++ {
				if err := w.Revision(zodb.OID(k), 1, 0, make([]byte, c.size)); err != nil {
					t.Fatal(err)
				}
			}
		}
		add(0, 2) // the second one is being filled
		if got := len(w.frames.slots); got != c.want {
			t.Errorf("a frame of %d bytes takes %d of %d slots, want %d", c.size, got, cap(w.frames.slots), c.want)
		}
		close(to.held)
		add(2, members) // more than there are slots
		if err := w.Transaction(1, 0, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := len(w.frames.slots); got != 0 {
			t.Errorf("frames of %d bytes: %d slots are taken at the end", c.size, got)
		}
	}
}

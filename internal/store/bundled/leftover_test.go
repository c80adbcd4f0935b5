package bundled_test

import (
	"errors"
	"testing"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// TestLeftoversOfAStayInSnapshotMode: a heap of copies has superseded bundles. They are removed, and not
// while A stands still.
func TestLeftoversOfAStayInSnapshotMode(t *testing.T) {
	t.Parallel()
	s, disk := newStore(t)
	h := newHistory(s, 3)
	over := crashfs.New(2)
	err := errors.Join(h.thaw(), h.put(store.A), h.put(store.A), lay(disk, over), h.tend(func() error { return nil }), s.Close())
	if err == nil {
		err = lay(over, disk)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.s = reopen(t, disk)
	h.s.UseB()
	before, err := bundlesIn(disk, store.A)
	if err != nil || before < 3 {
		t.Fatalf("there are %d bundles: %v", before, err)
	}
	nothing := func() error { return nil }
	if err := errors.Join(h.put(store.B), h.tend(nothing)); err != nil {
		t.Fatal(err)
	}
	if n, err := bundlesIn(disk, store.A); err != nil || n != before {
		t.Errorf("in snapshot mode A has %d bundles, had %d: %v", n, before, err)
	}
	if err := errors.Join(h.thaw(), h.tend(nothing), h.check(h.s)); err != nil {
		t.Fatal(err)
	}
	if n, err := bundlesIn(disk, store.A); err != nil || n >= before {
		t.Errorf("afterwards A has %d bundles, had %d: %v", n, before, err)
	}
}

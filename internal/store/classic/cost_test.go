package classic_test

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
)

// TestCostOfABlobIsAName: its content lies on the disk already when it is flushed.
func TestCostOfABlobIsAName(t *testing.T) {
	t.Parallel()
	tr, _, _ := newTree(t, layout.Flat)
	of := func(blob bool) store.Cost {
		return tr.Cost(store.Outline{Records: 1, Each: func(yield func(int64, bool, bool)) { yield(10, false, blob) }})
	}
	with, without := of(true), of(false)
	if with.Bytes != without.Bytes || with.Inodes != without.Inodes {
		t.Errorf("a blob takes up %+v instead of %+v", with, without)
	}
	if with.Work != 6 || without.Work != 5 {
		t.Errorf("the flush makes %d and %d files, want 6 and 5", with.Work, without.Work)
	}
}

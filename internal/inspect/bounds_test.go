package inspect

import (
	"sync"
	"testing"
)

// TestSetsOfAllSearchesShareOneMemory: however many are under way, they never have more than there is, and
// all of it comes back.
func TestSetsOfAllSearchesShareOneMemory(t *testing.T) {
	t.Parallel()
	b := NewBounds()
	all := b.sets
	var taken []int64
	sum := int64(0)
	for range 40 {
		n := b.takeSet()
		taken = append(taken, n)
		if sum += n; n < 0 || sum > all {
			t.Fatalf("%d bytes of %d are taken", sum, all)
		}
	}
	if taken[0] != all/2 || taken[1] != all/4 {
		t.Errorf("of %d bytes the first ones get %d and %d", all, taken[0], taken[1])
	}
	var wait sync.WaitGroup
	for _, n := range taken {
		wait.Go(func() { b.giveSet(n) })
	}
	wait.Wait()
	if b.sets != all {
		t.Errorf("%d bytes of %d came back", b.sets, all)
	}
}

// TestBrowsersOfTwoStoragesShareTheirBounds, and one that is alone has its own.
func TestBrowsersOfTwoStoragesShareTheirBounds(t *testing.T) {
	t.Parallel()
	both := NewBounds()
	one, other, alone := NewBrowser(nil, Options{Bounds: both}), NewBrowser(nil, Options{Bounds: both}), NewBrowser(nil, Options{})
	one.o.Bounds.seeking <- struct{}{}
	select {
	case other.o.Bounds.seeking <- struct{}{}:
		t.Error("two searches through all objects at once")
	default:
	}
	select {
	case alone.o.Bounds.seeking <- struct{}{}:
	default:
		t.Error("a browser with bounds of its own is busy")
	}
}

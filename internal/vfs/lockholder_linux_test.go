package vfs_test

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestHolderIsSeenWhileOthersLockAndUnlock: the kernel gives the list of a machine with many locks in pieces,
// and each lock that is given back meanwhile moves the next piece.
func TestHolderIsSeenWhileOthersLockAndUnlock(t *testing.T) {
	t.Parallel()
	f, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var others sync.WaitGroup
	defer others.Wait()
	defer close(done)
	for i := range 8 {
		others.Go(func() {
			var held []vfs.Lock
			for n := 0; ; n++ {
				select {
				case <-done:
					for _, l := range held {
						l.Close()
					}
					return
				default:
				}
				if l, err := f.Lock(fmt.Sprintf("other-%d-%d", i, n%40)); err == nil {
					held = append(held, l)
				}
				if len(held) > 30 {
					held[0].Close()
					held = held[1:]
				}
			}
		})
	}
	for n := range 40 / hometest.OneOf(1, 2, 4) {
		mine, err := f.Lock(fmt.Sprint("mine-", n))
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if pid := vfs.LockHolder(f, fmt.Sprint("mine-", n)); pid != os.Getpid() {
				t.Fatalf("process %d, want %d", pid, os.Getpid())
			}
		}
		if err := mine.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

package state

import (
	"syscall"
	"testing"
	"time"
)

// TestTheLogHasRoomAgain when there is more than at its failure, or at any look since: the last look before it may have been
// from before somebody filled the disk.
func TestTheLogHasRoomAgain(t *testing.T) {
	t.Parallel()
	s := newState(nil)
	look := func(free int64) bool {
		s.SetRoom(time.Unix(1e9, 0), Footprint{Bytes: free, Inodes: 100}, Boundless())
		return s.Report(Footprint{}).Trouble != nil
	}
	look(50 << 20)
	s.LogFailed(syscall.ENOSPC)
	for _, free := range []int64{50 << 20, 100 << 10, moreForLog} {
		if !look(free) {
			t.Errorf("%d bytes are free, and the trouble is over", free)
		}
	}
	if look(20 << 20) {
		t.Error("there is room, and still trouble")
	}
	s.LogFailed(syscall.ENOSPC)
	if !look(20<<20) || look(22<<20) {
		t.Error("another failure does not count from its own look")
	}
}

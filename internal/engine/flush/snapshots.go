package flush

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
)

// Snapshots enters and leaves snapshot mode, and keeps the floor of time stamps above each
// snapshot. All methods may be called concurrently, those of the open excepted, which say so.
type Snapshots struct {
	o     Config
	floor sync.Mutex // one RaiseFloor at a time
	ahead bool       // that the floor is far ahead of the clock has been said; guarded by floor
	// floorDebt: a full disk kept the open from raising the floor. Nothing may enter A or B
	// until it is raised.
	floorDebt atomic.Bool

	// modeMu is held by the one that changes files to leave snapshot mode, or has entered it.
	// It is taken before the lock of package state.
	modeMu state.Mutex

	// The worker's:
	leaveAt time.Time // when it looks next at a mode that ends by itself
	stays   bool      // that could not be left
}

// NewSnapshots returns it. The state says in which mode the storage is.
func NewSnapshots(o Config) *Snapshots {
	return &Snapshots{o: o, modeMu: state.Mutex{Log: o.Log}}
}

// Close is [state.State.Close]. It waits for a call that leaves snapshot mode, so that no
// file is changed after the locks are given back.
func (s *Snapshots) Close() (socket io.Closer, first bool) {
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	return s.o.State.Close()
}

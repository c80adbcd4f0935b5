package flush

import (
	"time"

	"github.com/dirstorage/dirstorage/internal/engine/state"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// payFloor raises the floor of time stamps, if a full disk kept the open from it. Until
// then nothing may enter A or B.
func (s *Snapshots) payFloor() error {
	if !s.floorDebt.Load() {
		return nil
	}
	err := s.RaiseFloor(s.o.Clock())
	if err == nil {
		s.floorDebt.Store(false)
	}
	return err
}

// StayInSnapshot makes an open that could not raise the floor, because the disk is
// full, start in snapshot mode: A stays as it is until there is room.
func (s *Snapshots) StayInSnapshot(cause error) {
	s.o.Log.Warn("disk full: starting in snapshot mode, which is left when there is room", "err", cause)
	s.floorDebt.Store(true)
	if sublock := s.o.State.TakeSublock(); sublock != nil {
		if err := sublock.Close(); err != nil { // it is free all the same
			s.o.Log.Warn("giving back the sublock", "err", err)
		}
	}
	s.o.State.StartInSnapshot(state.DiskFull)
}

// farAhead is how far ahead of the clock time stamps are worth a word.
const farAhead = time.Minute

// RaiseFloor makes files that are put into A or B from now on bear later times than the moment
// at which a snapshot was asked for, and than all before. It is durable when it returns. Errors
// that pass match zodb.ErrDiskFull or zodb.ErrScarce.
func (s *Snapshots) RaiseFloor(moment time.Time) error {
	s.floor.Lock()
	defer s.floor.Unlock()
	at, err := s.o.Store.RaiseFloor(moment)
	if err != nil {
		return vfs.WithPassing(err)
	}
	ahead := at.Sub(s.o.Clock())
	if ahead > farAhead && !s.ahead {
		s.o.Log.Warn("new files bear times ahead of the clock: it was set back, or there are snapshots again and again within seconds", "ahead", ahead.Round(time.Second), "until", at.UTC())
	}
	s.ahead = ahead > farAhead
	return nil
}

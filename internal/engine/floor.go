package engine

import ()

// payFloor raises the floor of time stamps, if a full disk kept the open from it. Until
// then nothing may enter A or B.
func (s *Storage) payFloor() error {
	if !s.floorDebt.Load() {
		return nil
	}
	err := s.worker.raiseFloor(s)
	if err == nil {
		s.floorDebt.Store(false)
	}
	return err
}

// stayASnapshot makes an open that could not raise the floor, because the disk is
// full, start in snapshot mode: A stays what it is until there is room.
func (s *Storage) stayASnapshot(cause error) {
	s.log.Warn("disk full: starting in snapshot mode, which is left when there is room", "err", cause)
	s.floorDebt.Store(true)
	if sublock := s.state.TakeSublock(); sublock != nil {
		if err := sublock.Close(); err != nil { // it is free all the same
			s.log.Warn("giving back the sublock", "err", err)
		}
	}
	s.state.StartInSnapshot()
}

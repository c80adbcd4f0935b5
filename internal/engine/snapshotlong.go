package engine

// beginStartup completes what is known of a start in snapshot mode: A is left as
// soon as it can be, so nobody else is to be told that it is a snapshot.
func (s *Storage) beginStartup() error {
	last, err := s.store.LastInA()
	if err != nil {
		return err
	}
	s.state.StartedWith(last)
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	s.closeSnapshot()
	return nil
}

// tellLong says in the log, once, that the storage is in snapshot mode for long.
func (s *Storage) tellLong() {
	if st, text := s.state.LastsLong(); st != nil {
		s.log.Warn("in snapshot mode for long: B grows, no pack removes anything, and backups of other tools miss what was committed since",
			"state", text, "since", st.Since, "newer", st.Newer, "to do", "dirstorage snapshot leave "+s.home.FS.Path("."))
	}
}

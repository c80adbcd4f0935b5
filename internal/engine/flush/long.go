package flush

// Startup completes a start in snapshot mode, for the open alone: A is left as
// soon as it can be, so nobody else is to be told that it is a snapshot.
func (s *Snapshots) Startup() error {
	last, err := s.o.Store.LastInA()
	if err != nil {
		return err
	}
	s.o.State.StartedWith(last)
	s.modeMu.Lock()
	defer s.modeMu.Unlock()
	s.closeSnapshot()
	return nil
}

// tellLong says in the log, once, that the storage is in snapshot mode for long.
func (s *Snapshots) tellLong() {
	if st, text := s.o.State.LastsLong(); st != nil {
		s.o.Log.Warn("in snapshot mode for long: B grows, no pack removes anything, and backups of other tools miss transactions committed since",
			"state", text, "since", st.Since, "newer", st.Newer, "to do", "dirstorage snapshot leave "+s.o.Home.FS.Path("."))
	}
}

package bundled

// HasTable reports whether there is a table of current revisions, and whether it was made anew.
func (s *Store) HasTable() (has, rebuilt bool) {
	t := s.table.Load()
	return t != nil && !t.bad.Load(), s.rebuilt
}

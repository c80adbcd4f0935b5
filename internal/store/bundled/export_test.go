package bundled

// HasTable reports whether there is a table of current revisions, and whether it was made anew.
func (s *Store) HasTable() (has, rebuilt bool) {
	return s.table != nil && !s.table.bad.Load(), s.rebuilt
}

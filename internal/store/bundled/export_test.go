package bundled

// HasTable reports whether there is a table of current revisions, and whether it was made anew.
func (s *Store) HasTable() (has, rebuilt bool) {
	t := s.table.Load()
	return t != nil && !t.bad.Load(), s.rebuilt
}

// Buffered returns how many bytes a buffer has that is used next.
func (s *Store) Buffered() int {
	buf := s.buffers.Get().(*frameBuffers)
	defer s.buffers.Put(buf)
	return cap(buf.packed) + cap(buf.plain)
}

package journal

// Failure returns the first cause of the log being poisoned; nil if it is not.
func (l *Log) Failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

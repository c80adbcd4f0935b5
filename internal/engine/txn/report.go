package txn

import "time"

// Report describes the transactions of a Manager at one moment.
type Report struct {
	Open         int       // begun and not ended
	HeldLocks    int       // of objects
	WaitForLocks int       // votes
	Finishing    int       // in Finish, not yet taken by the committer
	WaitForIdle  bool      // the vote of a copy waits for the commit that is under way
	CommitBegun  time.Time // when the commit that is under way began; zero: there is none
}

// Report returns it.
func (m *Manager) Report() Report {
	r := Report{Open: m.open.count(), HeldLocks: m.locks.Held(), WaitForLocks: m.locks.Waiting()}
	if begun := m.commits.since.Load(); begun != 0 {
		r.CommitBegun = time.Unix(0, begun)
	}
	c := &m.commits
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Finishing, r.WaitForIdle = len(c.waiting), c.given.idle != nil
	return r
}

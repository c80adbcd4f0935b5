package txn

import (
	"time"

	"github.com/dirstorage/dirstorage/internal/oidlock"
)

// Report describes the transactions of a Manager at one moment.
type Report struct {
	Open         int       // begun and not ended
	WaitForLocks int       // votes
	Finishing    int       // in Finish, not yet taken by the committer
	WaitForIdle  bool      // the vote of a copy waits for the commit that is under way
	CommitBegun  time.Time // when the commit that is under way began; zero: there is none
}

// HeldLocks returns the number of locks of objects that are held. It looks at each.
func (m *Manager) HeldLocks() int { return m.locks.Held() }

// LockWaits returns the votes that wait for locks, the first ones of them: see [oidlock.Table.Waits].
// The owners are transactions by their [Txn.Number].
func (m *Manager) LockWaits(most int) []oidlock.Wait { return m.locks.Waits(most) }

// Report returns it.
func (m *Manager) Report() Report {
	r := Report{Open: m.open.count(), WaitForLocks: m.locks.Waiting()}
	if begun := m.commits.since.Load(); begun != 0 {
		r.CommitBegun = time.Unix(0, begun)
	}
	c := &m.commits
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Finishing, r.WaitForIdle = len(c.waiting), c.given.idle != nil
	return r
}

package zeo

import "github.com/dirstorage/dirstorage/internal/listen"

// A client that loads one object after the other, each of them from memory, while no other client
// asks for anything, is answered faster where its connection waits in the kernel, see
// [listen.KernelWait], if there is one processor. sole finds out whether it is such a one. It is the
// reader's own.
type sole struct {
	waits  *listen.KernelWait // nil: there are more processors
	streak int                // loads that were answered at once, of this connection alone
	turns  int                // how often in the streak the poller had its turn
}

const (
	// soleStreak is how many such loads come before the kernel is chosen.
	soleStreak = 64
	// soleTurn is after how many of them the poller is chosen for one: where there is a single
	// processor, others are looked at then.
	soleTurn = 128
)

// worked notes that a request was worked off. atOnce: it was a load that was answered at once.
func (c *conn) worked(atOnce bool) {
	if c.srv.o.processors != 1 {
		return
	}
	if c.srv.recent.Load() != c {
		c.srv.recent.Store(c)
		atOnce = false
	}
	if !atOnce {
		c.sole.streak = 0
		return
	}
	c.sole.streak++
}

// choose says where the next read waits. It is called once for a burst of loads.
func (s *sole) choose() {
	turns := s.streak / soleTurn
	s.waits.Set(s.streak >= soleStreak && turns == s.turns)
	s.turns = turns
}

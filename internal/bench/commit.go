package bench

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// commitObjects is how many objects a transaction stores.
const commitObjects = 5

// object is one that a committer stores again and again. Nobody else does.
type object struct {
	oid    zodb.OID
	serial zodb.TID
}

// committer commits transactions over one connection, one after the other.
type committer struct {
	c         *conn
	objects   []object // its own
	rnd       *rand.Rand
	clock     func() time.Time
	data      []byte
	ttid      int64
	hist      histogram
	conflicts int64
	stalls    *stalls
}

// run commits until the window is over.
func (m *committer) run(w window) error {
	for {
		begun := m.clock()
		if !begun.Before(w.end) {
			return nil
		}
		err := m.commit(m.pick())
		if errors.Is(err, zodb.ErrConflict) {
			m.conflicts++
			continue
		}
		if err != nil {
			return err
		}
		if now := m.clock(); w.contains(now) {
			m.hist.add(now.Sub(begun))
			m.stalls.done(now)
		}
	}
}

// pick chooses the objects of a transaction.
func (m *committer) pick() []*object {
	picked := make([]*object, 0, commitObjects)
	first := m.rnd.IntN(len(m.objects))
	for i := range min(commitObjects, len(m.objects)) {
		picked = append(picked, &m.objects[(first+i)%len(m.objects)])
	}
	return picked
}

// commit stores objects in one transaction.
func (m *committer) commit(objects []*object) error {
	m.ttid++
	if err := m.c.tell("tpc_begin", m.ttid, []byte{}, []byte("bench"), emptyDict, nil, " "); err != nil {
		return err
	}
	for _, o := range objects {
		stamp(m.data, m.rnd.Uint64())
		if err := m.c.tell("storea", o.oid, o.serial, m.data, m.ttid); err != nil {
			return err
		}
	}
	if _, err := m.call("vote"); err != nil {
		return err
	}
	v, err := m.call("tpc_finish")
	if err != nil {
		return err
	}
	b, ok := v.([]byte)
	if !ok || len(b) != 8 {
		return errors.New("tpc_finish gives no tid")
	}
	tid := zodb.TIDFromBytes(b)
	m.c.last = max(m.c.last, tid)
	for _, o := range objects {
		o.serial = tid
	}
	return nil
}

func (m *committer) call(name string) (any, error) {
	id, err := m.c.request(name, m.ttid)
	if err == nil {
		err = m.c.flush()
	}
	if err != nil {
		return nil, err
	}
	return m.c.answer(id)
}

// stalls watches over the commits of all connections.
type stalls struct {
	begin   time.Time
	last    atomic.Int64 // nanoseconds after begin
	longest atomic.Int64
	seconds []atomic.Int64 // commits in each
}

func newStalls(w window) *stalls {
	return &stalls{begin: w.begin, seconds: make([]atomic.Int64, int(w.end.Sub(w.begin)/time.Second)+1)}
}

// done notes the end of a commit. now is within the window.
func (s *stalls) done(now time.Time) {
	at := int64(now.Sub(s.begin))
	s.seconds[at/int64(time.Second)].Add(1)
	before := s.last.Load()
	for at > before && !s.last.CompareAndSwap(before, at) {
		before = s.last.Load()
	}
	s.note(at - before)
}

func (s *stalls) note(gap int64) {
	for {
		longest := s.longest.Load()
		if gap <= longest || s.longest.CompareAndSwap(longest, gap) {
			return
		}
	}
}

// finish counts the time up to the end, in which nothing may have happened either.
func (s *stalls) finish(w window) (longest time.Duration, slowest float64) {
	s.note(int64(w.end.Sub(w.begin)) - s.last.Load())
	whole := s.seconds[:len(s.seconds)-1]
	for i := range whole {
		if n := float64(whole[i].Load()); i == 0 || n < slowest {
			slowest = n
		}
	}
	return time.Duration(s.longest.Load()), slowest
}

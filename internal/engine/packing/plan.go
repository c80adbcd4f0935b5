package packing

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/zodb"
)

// plan is one pack as the guard sees it, from its beginning until nothing of it
// can be carried out any more: which objects are condemned, which are spared, and the
// plan in misc/ that says so to the next open. It takes the place of the guard's
// plan at begin and leaves it in [plan.end], nowhere else. So the guard stands
// as long as an open may find the plan, also after errors.
//
// guard.mu guards every field that does not name another guard.
type plan struct {
	s      *Packer
	state  planState
	files  *pack.Files  // it has a lock of its own
	marker *pack.Marker // while it marks
	gc     bool         // unreachable objects are condemned; else only deleted ones
	index  *refIndex    // nil: none is written
	// unseen is about records of transactions whose references cannot be seen, while marking.
	unseen error

	condemned *oidset.Set // does not change once there is one
	spared    *oidset.Set
	all       atomic.Bool // all are spared

	// batch is held while files of condemned objects are removed, and while some
	// are spared, so that none is seen half removed. It is taken after guard.mu.
	batch sync.Mutex
}

// planState is how far a pack is. It goes forward only.
type planState uint8

const (
	packMarks    planState = iota // objects that transactions touch are marked
	packDecided                   // everything unmarked is condemned; the plan is being written
	packPlanned                   // an open may find the plan, and carries it out
	packSweeps                    // condemned objects may be gone
	packIsEnding                  // carried out or given up; an open may still find the plan
	packEnded                     // nothing is condemned
)

func (st planState) String() string {
	return [...]string{"marking", "condemned", "planned", "sweeping", "ending", "ended"}[st]
}

// newPlan returns one that marks.
func (s *Packer) newPlan() *plan {
	return &plan{s: s, files: s.files, spared: oidset.New(oidsetLimit)}
}

// to goes forward to a state.
func (v *plan) to(next planState) {
	v.s.guard.mu.Lock()
	defer v.s.guard.mu.Unlock()
	v.state = max(v.state, next)
}

func (v *plan) is() planState {
	v.s.guard.mu.Lock()
	defer v.s.guard.mu.Unlock()
	return v.state
}

// establish makes the plan valid, which was written as a whole. Also if there is an
// error an open may find it: see [plan.end].
func (v *plan) establish() error {
	if err := v.files.Complete(); err != nil {
		return err
	}
	if err := v.keepSpared(); err != nil {
		return err
	}
	if err := v.s.o.Home.Check(); err != nil {
		return err
	}
	v.to(packPlanned)
	return v.files.Name()
}

// keepSpared makes the objects durable that were spared while the plan was written. Later
// ones are durable by themselves.
func (v *plan) keepSpared() error {
	v.s.guard.mu.Lock()
	defer v.s.guard.mu.Unlock()
	v.batch.Lock()
	defer v.batch.Unlock()
	var oids []zodb.OID
	if v.all.Load() {
		oids = append(oids, pack.Everything)
	}
	for oid := range v.spared.Each() {
		if v.condemned.Has(oid) { // the others are not in the plan
			oids = append(oids, oid)
		}
	}
	return v.files.Spare(oids...)
}

// end ends a pack that was carried out, that is given up, or that came to nothing:
// the plan goes durably, then the guard, then the list of spared objects. After an error
// the guard may have to stay, see [plan.over]; then end is called again.
func (v *plan) end() error {
	v.to(packIsEnding)
	if v.files.Found() {
		if err := v.s.o.Home.Check(); err != nil {
			return err
		}
	}
	err := v.files.End()
	if v.files.Found() {
		return err
	}
	g := &v.s.guard
	g.mu.Lock()
	v.state = packEnded
	if g.plan == v {
		g.plan = nil
	}
	g.mu.Unlock()
	return errors.Join(err, v.files.Discard())
}

// over reports whether nothing of the pack can be carried out any more.
func (v *plan) over() bool { return v.is() == packEnded }

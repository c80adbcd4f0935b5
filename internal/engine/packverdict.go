package engine

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/zodb"
)

// verdict is one pack as the guard sees it, from its beginning until nothing of it
// can be carried out any more: which objects are condemned, which are spared, and the
// plan in misc/ that says so to the next open. It takes the place of the guard's
// verdict at begin and leaves it in [verdict.end], nowhere else. So the guard stands
// as long as an open may find the plan, also after errors.
//
// packGuard.mu guards what is not said to be another's.
type verdict struct {
	s      *Storage
	state  verdictState
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
	// are spared, so that none is seen half removed. It is taken after packGuard.mu.
	batch sync.Mutex
}

// verdictState is how far a pack is. It goes forward only.
type verdictState uint8

const (
	packMarks    verdictState = iota // what transactions touch is marked
	packDecided                      // what is not marked is condemned; the plan is being written
	packPlanned                      // an open may find the plan, and carries it out
	packSweeps                       // what is condemned may be gone
	packIsEnding                     // carried out or given up; an open may still find the plan
	packEnded                        // nothing is condemned
)

func (st verdictState) String() string {
	return [...]string{"marking", "condemned", "planned", "sweeping", "ending", "ended"}[st]
}

// newVerdict returns one that marks.
func (s *Storage) newVerdict() *verdict {
	return &verdict{s: s, files: s.packs.files, spared: oidset.New(oidsetLimit)}
}

// to goes forward to a state.
func (v *verdict) to(next verdictState) {
	v.s.guard.mu.Lock()
	defer v.s.guard.mu.Unlock()
	v.state = max(v.state, next)
}

func (v *verdict) is() verdictState {
	v.s.guard.mu.Lock()
	defer v.s.guard.mu.Unlock()
	return v.state
}

// establish makes the plan valid, which was written as a whole. Also if there is an
// error an open may find it: see [verdict.end].
func (v *verdict) establish() error {
	if err := v.files.Complete(); err != nil {
		return err
	}
	if err := v.keepSpared(); err != nil {
		return err
	}
	if err := v.s.checkHome(); err != nil {
		return err
	}
	v.to(packPlanned)
	return v.files.Name()
}

// keepSpared makes durable what was spared while the plan was written. What comes
// then is durable by itself.
func (v *verdict) keepSpared() error {
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
// the plan goes durably, then the guard, then what was spared. With an error the
// guard may have to stay, which [verdict.over] tells; then end is called again.
func (v *verdict) end() error {
	v.to(packIsEnding)
	if v.files.Found() {
		if err := v.s.checkHome(); err != nil {
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
	if g.verdict == v {
		g.verdict = nil
	}
	g.mu.Unlock()
	return errors.Join(err, v.files.Discard())
}

// over reports whether nothing of the pack can be carried out any more.
func (v *verdict) over() bool { return v.is() == packEnded }

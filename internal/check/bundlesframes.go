package check

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// framesInTask is how many frames a worker reads at a time: about 1 MB of tar.
const framesInTask = 64

// reading is the reading of all frames of one bundle.
//
// The index is compared with the members as sets, by sums of keyed hashes of name, place, length
// and flags: only where they differ is it asked which. So nothing has to be looked up.
type reading struct {
	v      *bundles
	p      *part
	visit  visitor
	frames []bundle.Frame
	starts []int64 // of each frame, in blocks of tar before it
	// By block in which the content of a member begins:
	there, heads bits

	members sums // of the index, minus those that are there
	firsts  sums // the same of where transactions begin
	pieces  []piece
	left    atomic.Int64 // tasks
	damaged sync.Map     // numbers of frames that cannot be read
}

// differBuckets is the number of parts in which sums are kept.
const differBuckets = 256

type sums [differBuckets]atomic.Uint64

func (s *sums) add(h uint64) { s[h%differBuckets].Add(h) }

func (s *sums) remove(h uint64) { s[h%differBuckets].Add(-h) }

// memberKey is the entry of a member in an index.
type memberKey struct {
	name   layout.Name
	frame  int64 // its offset
	block  uint16
	flags  uint16
	length uint32
}

// firstKey is the place in an index at which a transaction begins.
type firstKey struct {
	tid   zodb.TID
	frame uint32
	block uint16
}

// piece are the borders of the part that a task has read.
type piece struct {
	any       bool
	lead      firstKey // the first member
	leadEnds  bool     // the file of its transaction is in the piece
	different bool     // the last member is of another transaction
	tail      firstKey // the first member of that
	tailOpen  bool     // the file of that is not in the piece
	first     layout.Name
	last      layout.Name
}

// walkFrames reads all frames of a part, and visits their members.
func (v *bundles) walkFrames(ctx context.Context, pl *pool, w *worker, p *part, visit visitor) {
	r := &reading{v: v, p: p, visit: visit}
	if err := r.prepare(); err != nil {
		v.unread(p, err)
		return
	}
	tasks := (len(r.frames) + framesInTask - 1) / framesInTask
	r.pieces = make([]piece, tasks)
	r.left.Store(int64(tasks))
	if tasks == 0 {
		r.finish(ctx, w)
	}
	for i := range tasks {
		pl.do(ctx, w, func(ctx context.Context, w *worker) {
			r.task(ctx, w, i)
			if r.left.Add(-1) == 0 && ctx.Err() == nil {
				r.finish(ctx, w)
			}
		})
	}
}

// prepare reads the index.
func (r *reading) prepare() error {
	end, blocks := int64(0), int64(0)
	for f, err := range r.p.FramesFrom(0) {
		if err != nil {
			return err
		}
		if f.Offset != end && !r.p.Rebuilt() {
			r.visit.damage(bundleFault(BundleFrame, r.p.path, "the index has a frame at offset %d, and the one before ends at %d", f.Offset, end))
		}
		end = f.Offset + f.Size
		r.frames, r.starts = append(r.frames, f), append(r.starts, blocks)
		blocks += int64(f.Blocks)
	}
	if err := r.p.CheckEnd(end); err != nil {
		r.visit.damage(bundleFault(BundleFrame, r.p.path, "%s", reason(err)))
	}
	r.there, r.heads = newBits(blocks+1), newBits(blocks+1)
	number := int64(0)
	for e, err := range r.p.RevisionsFrom(0) {
		if err != nil {
			return err
		}
		r.list(e.Name(), e.Place, number, r.p.heads.has(number))
		number++
	}
	for e, err := range r.p.TransactionsFrom(0) {
		if err != nil {
			return err
		}
		r.list(e.Name(), e.Place, number, false)
		r.firsts.add(maphash.Comparable(r.v.seed, firstKey{e.TID, e.FirstFrame, e.FirstBlock}))
		number++
	}
	return nil
}

// list takes an entry of the index.
func (r *reading) list(n layout.Name, at bundle.Place, number int64, head bool) {
	f := r.frames[at.Frame]
	r.members.add(maphash.Comparable(r.v.seed, keyOf(n, f, at)))
	if uint32(at.Block) > f.Blocks {
		return
	}
	block := r.starts[at.Frame] + int64(at.Block)
	if !r.p.gone.Has(number) {
		r.there.set(block)
		if head {
			r.heads.set(block)
		}
	}
}

func keyOf(n layout.Name, f bundle.Frame, at bundle.Place) memberKey {
	return memberKey{n, f.Offset, at.Block, at.Flags, at.Length}
}

// task reads some frames.
func (r *reading) task(ctx context.Context, w *worker, number int) {
	var batch []found
	begin := number * framesInTask
	end := min(begin+framesInTask, len(r.frames))
	w.ahead.frames = 0
	for i := begin; i < end && ctx.Err() == nil; i++ {
		f := r.frames[i]
		if w.ahead.frames == 0 {
			w.ahead.read(r.p, r.frames[i:end])
		}
		var err error
		if packed := w.ahead.next(f); packed != nil {
			err = w.frame.decodeRead(r.p, f, packed)
		} else {
			err = w.frame.decode(r.p, f)
		}
		if err == nil {
			err = w.frame.walk(f)
		}
		if err != nil {
			w.frame.part, w.frame.members = nil, nil
			r.damaged.Store(uint32(i), true)
			r.visit.damage(bundleFault(BundleFrame, r.p.path, "%s", reason(err)))
			continue
		}
		batch = batch[:0]
		for k := range w.frame.members {
			m := &w.frame.members[k]
			at := bundle.Place{Frame: uint32(i), Block: m.Block, Flags: flagsOf(m.Name, m.Content), Length: uint32(len(m.Content))}
			r.members.remove(maphash.Comparable(r.v.seed, keyOf(m.Name, f, at)))
			r.border(&r.pieces[number], m.Name, firstKey{m.Name.TID, at.Frame, at.Block - 1})
			block := r.starts[i] + int64(m.Block)
			if m.there = r.there.has(block); !m.there {
				continue
			}
			m.head = r.heads.has(block)
			batch = r.v.append(batch, r.p, m.Name, m.head)
		}
		r.visit.files(ctx, w, batch)
	}
	w.frame.part, w.frame.members = nil, w.frame.members[:0]
}

// border notes a member of a piece, for where transactions begin, and for the order of members.
func (r *reading) border(c *piece, n layout.Name, at firstKey) {
	if c.any {
		r.order(c.last, n)
	}
	switch {
	case !c.any:
		*c = piece{any: true, lead: at, first: n}
	case n.TID != c.last.TID:
		c.different, c.tail, c.tailOpen = true, at, true
	}
	c.last = n
	if n.Kind != layout.KindTransaction {
		return
	}
	if c.different {
		r.begins(c.tail)
		c.tailOpen = false
	} else {
		c.leadEnds = true
	}
}

func (r *reading) begins(at firstKey) { r.firsts.remove(maphash.Comparable(r.v.seed, at)) }

// order makes sure that members come in order of tid, the revisions of a transaction first.
func (r *reading) order(a, b layout.Name) {
	if b.TID > a.TID || b.TID == a.TID && a.Kind == layout.KindRevision {
		return
	}
	r.visit.damage(bundleFault(BundleMember, r.p.path, "%s comes behind %s", b, a))
}

// finish compares the members that were read with the index.
func (r *reading) finish(ctx context.Context, w *worker) {
	var carry firstKey // of a transaction that goes on in the next piece
	var last layout.Name
	for i := range r.pieces {
		c := &r.pieces[i]
		if !c.any {
			continue
		}
		if last.Kind != 0 {
			r.order(last, c.first)
		}
		lead := c.lead
		if carry.tid == lead.tid {
			lead = carry
		}
		if c.leadEnds {
			r.begins(lead)
		}
		switch carry = (firstKey{}); {
		case c.different && c.tailOpen:
			carry = c.tail
		case !c.different && !c.leadEnds:
			carry = lead
		}
		last = c.last
	}
	var differ [differBuckets]bool
	some, begins := false, false
	for i := range differBuckets {
		differ[i] = r.members[i].Load() != 0
		some = some || differ[i]
		begins = begins || r.firsts[i].Load() != 0
	}
	whole := true
	r.damaged.Range(func(any, any) bool {
		whole = false
		return false
	})
	if some {
		r.resolve(ctx, w, &differ)
	} else if begins && whole && !r.p.Rebuilt() {
		r.visit.damage(bundleFault(BundleIndex, r.p.path, "the index has a wrong place for the beginning of a transaction%s", salvageIt))
	}
}

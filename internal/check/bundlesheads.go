package check

import (
	"context"
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/zodb"
)

// checkIndexes compares each index with its sum, and reads it wholly. A bundle whose index is
// damaged is read frame by frame from then on.
func (v *bundles) checkIndexes(ctx context.Context, workers int, parts []*part, report func(Finding)) {
	run(ctx, workers, func(ctx context.Context, p *pool, w *worker) {
		for _, part := range parts {
			p.do(ctx, w, func(context.Context, *worker) {
				if part.Rebuilt() {
					return
				}
				if err := readIndex(part.Reader); err != nil {
					report(bundleFault(bundleKind(err), part.path, "%s%s", reason(err), salvageIt))
					v.rebuild(part, report)
				}
			})
		}
	})
}

func readIndex(r *bundle.Reader) error {
	if err := r.CheckIndex(); err != nil {
		return err
	}
	for _, err := range r.RevisionsFrom(0) {
		if err != nil {
			return err
		}
	}
	for _, err := range r.TransactionsFrom(0) {
		if err != nil {
			return err
		}
	}
	for _, err := range r.FramesFrom(0) {
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	// sampleEvery is after how many entries of an index one is looked at, to divide the objects.
	sampleEvery = 4096
	// samplesInSegment is how many of those a segment of the objects has, about.
	samplesInSegment = 8
)

// entry is one of an index.
type entry struct {
	oid    zodb.OID
	tid    zodb.TID
	part   int32
	number int32
}

// findHeads finds the current revision of each object: the newest of which any bundle has an entry,
// unless that is gone. The objects are divided into segments by their oids. Memory: those entries
// of a segment, for each worker; and one bit for each entry.
func (v *bundles) findHeads(ctx context.Context, workers int, report func(Finding)) {
	var once sync.Mutex // over faults and heads
	failed := func(p *part, err error) {
		once.Lock()
		defer once.Unlock()
		if report != nil {
			report(bundleFault(bundleKind(err), p.path, "%s", reason(err)))
		}
	}
	var table *tableCheck
	if report != nil {
		table = v.openTable(report)
		defer table.close(report)
	}
	bounds := v.bounds(failed)
	run(ctx, workers, func(ctx context.Context, p *pool, w *worker) {
		for i := range len(bounds) {
			p.do(ctx, w, func(ctx context.Context, w *worker) {
				end := zodb.OID(0) // none
				if i+1 < len(bounds) {
					end = bounds[i+1]
				}
				heads := v.segment(w, bounds[i], end, table, failed)
				once.Lock()
				defer once.Unlock()
				for _, e := range heads {
					v.parts[e.part].heads.set(int64(e.number))
				}
			})
		}
	})
}

// bounds returns the first oids of segments, ascending, the first one 0.
func (v *bundles) bounds(failed func(*part, error)) []zodb.OID {
	var samples []zodb.OID
	for _, p := range v.parts {
		for number := int64(0); number < p.Revisions; number += sampleEvery {
			for e, err := range p.RevisionsFrom(number) {
				if err != nil {
					failed(p, err)
				} else {
					samples = append(samples, e.OID)
				}
				break
			}
		}
	}
	slices.Sort(samples)
	bounds := []zodb.OID{0}
	for i := samplesInSegment; i < len(samples); i += samplesInSegment {
		if samples[i] > bounds[len(bounds)-1] {
			bounds = append(bounds, samples[i])
		}
	}
	return bounds
}

// segment returns the current revisions of the objects from one on, up to before another; 0: of
// all. They are in a buffer of the worker.
func (v *bundles) segment(
	w *worker, from, end zodb.OID, table *tableCheck, failed func(*part, error),
) []entry {
	all := w.entries[0][:0]
	var ends []int // of the entries of each part
	for i, p := range v.parts {
		number, err := p.From(from)
		if err != nil {
			failed(p, err)
			continue
		}
		for e, err := range p.RevisionsFrom(number) {
			if err != nil {
				failed(p, err)
				break
			}
			if end != 0 && e.OID >= end {
				break
			}
			all = append(all, entry{e.OID, e.TID, int32(i), int32(number)})
			number++
		}
		ends = append(ends, len(all))
	}
	w.entries[0] = all
	if len(w.entries[1]) < len(all) {
		w.entries[1] = make([]entry, cap(all))
	}
	all = merge(all, w.entries[1][:len(all)], ends)
	heads, slots := all[:0], table.cursor()
	for i, e := range all {
		if i+1 < len(all) && all[i+1].oid == e.oid {
			continue
		}
		if table.compare(slots, e); v.parts[e.part].gone.Has(int64(e.number)) {
			continue
		}
		heads = append(heads, e)
	}
	return heads
}

// merge merges runs of entries, of which each is in order and ends where the next one begins. Of
// one revision that several parts have, the one of the last part comes first. The result is in all,
// or in another slice of its length.
func merge(all, other []entry, ends []int) []entry {
	for len(ends) > 1 {
		from, half := 0, ends[:0]
		for i := 0; i < len(ends); i += 2 {
			middle := ends[i]
			end := ends[min(i+1, len(ends)-1)]
			mergeTwo(other[from:end], all[from:middle], all[middle:end])
			half = append(half, end)
			from = end
		}
		all, other, ends = other, all, half
	}
	return all
}

func mergeTwo(to, a, b []entry) {
	for k := range to {
		if len(b) == 0 || len(a) > 0 && a[0].before(b[0]) {
			to[k], a = a[0], a[1:]
		} else {
			to[k], b = b[0], b[1:]
		}
	}
}

func (e entry) before(o entry) bool { return e.oid < o.oid || e.oid == o.oid && e.tid < o.tid }

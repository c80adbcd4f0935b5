package check

import (
	"slices"

	"github.com/dirstorage/dirstorage/zodb"
)

// tallied is how many objects and references a worker keeps before it hands them over.
const tallied = 4096

// tally is what a worker has counted and not yet handed over: memory that all workers write to at
// each file costs more than the rest of the work on a small one. It is the property of its worker;
// [run] hands over what is left.
type tally struct {
	c *checker // nil: nothing was counted

	files, bytes, objects, revisions, withoutChecksum int64

	oid zodb.OID // the highest of an object that was seen
	tid zodb.TID // the latest of a revision that was seen

	exists   []zodb.OID
	referred []reference
	targets  []zodb.OID // a buffer for their ends

	histories, lists *localSums
}

// tally returns that of a worker.
func (c *checker) tally(w *worker) *tally {
	if w.tally.c == nil {
		w.tally = tally{c: c, histories: new(localSums), lists: new(localSums)}
	}
	return &w.tally
}

// seenOID notes the oid of an object that there is.
func (t *tally) seenOID(oid zodb.OID) { t.oid = max(t.oid, oid) }

// exist notes that an object exists.
func (t *tally) exist(oid zodb.OID) {
	if t.exists = append(t.exists, oid); len(t.exists) >= tallied {
		t.settleObjects()
	}
}

// refer notes a reference to an object that may be in the sets.
func (t *tally) refer(r reference) {
	if t.referred = append(t.referred, r); len(t.referred) >= tallied {
		t.settleReferences()
	}
}

func (t *tally) settleObjects() {
	t.c.exists.AddAll(t.exists)
	t.exists = t.exists[:0]
}

func (t *tally) settleReferences() {
	t.targets = t.targets[:0]
	for i := range t.referred {
		t.targets = append(t.targets, t.referred[i].to)
	}
	if left := t.c.referenced.AddAll(t.targets); len(left) > 0 {
		for _, r := range t.referred {
			if _, without := slices.BinarySearch(left, r.to); without {
				t.c.referWild(r)
			}
		}
	}
	t.referred = t.referred[:0]
}

// settle hands the numbers over, between two tasks.
func (t *tally) settle() {
	if t.c == nil {
		return
	}
	n := &t.c.counts
	n.objects.Add(t.objects)
	n.revisions.Add(t.revisions)
	n.withoutChecksum.Add(t.withoutChecksum)
	raise(&t.c.newer.oid, uint64(t.oid))
	raise(&t.c.newer.tid, uint64(t.tid))
	t.c.countFiles(t.files, t.bytes)
	t.files, t.bytes, t.objects, t.revisions, t.withoutChecksum = 0, 0, 0, 0, 0
}

// end hands everything over.
func (t *tally) end() {
	if t.c == nil {
		return
	}
	t.settle()
	if len(t.exists) > 0 {
		t.settleObjects()
	}
	if len(t.referred) > 0 {
		t.settleReferences()
	}
	t.c.histories.addLocal(t.histories)
	t.c.lists.addLocal(t.lists)
	*t = tally{}
}

package check

import (
	"cmp"
	"slices"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// maxCached bounds the cache of histories, in revisions.
const maxCached = 1 << 20

// line is the history of one object as far as it can be walked.
type line struct {
	pointer state
	path    string     // of the pointer
	tids    []zodb.TID // descending; the files that are there
	// end tells why it ends: sound (it is complete, or was packed away), missing or
	// unusable; at is the revision concerned, MaxTID = the pointer.
	end state
	at  zodb.TID
}

func (l *line) has(tid zodb.TID) bool {
	_, ok := slices.BinarySearchFunc(l.tids, tid, func(a, b zodb.TID) int { return cmp.Compare(b, a) })
	return ok
}

// line walks the history of an object, from a cache if it was walked lately:
// a walk over the names comes to the revisions of one object close together.
func (r *resolver) line(w *worker, oid zodb.OID) *line {
	r.mu.Lock()
	l := r.lines[oid]
	r.mu.Unlock()
	if l != nil {
		return l
	}
	l = r.walkLine(w, oid)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil || r.linesSize > maxCached {
		r.lines, r.linesSize = make(map[zodb.OID]*line), 0
	}
	r.lines[oid] = l
	r.linesSize += 1 + len(l.tids)
	return l
}

func (r *resolver) walkLine(w *worker, oid zodb.OID) *line {
	c := r.c
	p, s, _ := c.v.head(w, oid)
	l := &line{pointer: s, path: p.path, end: s, at: zodb.MaxTID}
	if s != sound {
		return l
	}
	for tid := p.tid; ; {
		o, s, _ := c.readObject(w, layout.Revision(oid, tid))
		if s != missing {
			l.tids = append(l.tids, tid)
		}
		l.at = tid
		if s == missing && tid != p.tid && c.packedAway(w, oid, tid) {
			s = sound
		} else if s == sound && o.Previous != 0 {
			tid = o.Previous
			continue
		}
		l.end = s
		return l
	}
}

// lost are revisions of an object that has no pointer: those that are there, or
// those that are not and that transactions list.
type lost struct {
	tid   zodb.TID // the latest of them
	path  string   // where the pointer should be; or of that transaction
	class string   // of the latest one, if it is there
	count int
}

// behead notes a revision of an object that has no pointer.
func (r *resolver) behead(l *line, n layout.Name, o object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.headless[n.OID]
	if h == nil {
		if len(r.headless) == maxRemembered {
			r.drop(PointerMissing, r.c.headlessSeverity(n.TID))
			return
		}
		if r.headless == nil {
			r.headless = make(map[zodb.OID]*lost)
		}
		h = &lost{path: l.path}
		r.headless[n.OID] = h
	}
	h.count++
	if n.TID >= h.tid {
		h.tid, h.class = n.TID, class(o.Data)
	}
}

// headlessSeverity is that of an object that nothing refers to and that has no
// pointer; tid is its latest revision. A pack removes pointers first. But if
// there is something that could not be read, that may have referred to it.
func (c *checker) headlessSeverity(tid zodb.TID) Severity {
	if c.beforePack(tid) && !c.blind.Load() {
		return Note
	}
	return Damage
}

package check

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"iter"
	"slices"
	"sort"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// bundles is the view of the format bundled. Marks, blobs and the journal are those of trees. It reads
// bundles with the codec of package bundle; by itself it works out the bundles that count, the
// current revisions and the members that are gone.
//
// A bundle whose index or footer is damaged has a finding, and is read frame by frame: the
// rest of the check has its members.
type bundles struct {
	*trees
	parts  []*part // that count, in order of their ranges
	files  *openFiles
	again  bool // what is gone may have another name by now: the directories are read again
	faults []Finding
	// overlap: ranges overlap, so that a transaction may be in several.
	overlap bool
	packed  zodb.TID // x.packed; MaxTID if it cannot be read
	ready   bool     // heads were found
	seed    maphash.Seed
	damage  func(Finding) // of the first walk that asked for it
	lookups lookups

	still    bool     // A alone counts
	identity [16]byte // zero if it cannot be read
}

// part is a bundle that counts.
type part struct {
	*bundle.Reader
	name    bundle.Name
	side    string
	path    string
	file    *bundleFile
	size    int64
	footed  bool   // its footer can be read
	renamed string // the name that its footer says, if it is not that of the file
	gone    *bundle.Gone
	number  uint64 // of gone
	// heads has a bit for each revision of the index: it is the current one.
	heads bits
}

// bits is a set of small numbers.
type bits []uint64

func newBits(n int64) bits { return make(bits, (n+63)/64) }

func (b bits) has(n int64) bool { return b[n/64]&(1<<(n%64)) != 0 }

func (b bits) set(n int64) { b[n/64] |= 1 << (n % 64) }

var _ view = (*bundles)(nil)

// close closes the bundles. Nothing was written.
func (v *bundles) close() { v.files.close() }

func (v *bundles) opened() []Finding { return v.faults }

// inBundle reports whether a name is that of something in a bundle.
func inBundle(n layout.Name) bool {
	return n.Kind == layout.KindRevision || n.Kind == layout.KindTransaction
}

// in returns the parts whose ranges have a tid: one, if nothing is damaged.
func (v *bundles) in(tid zodb.TID) []*part {
	if v.overlap {
		var list []*part
		for _, p := range v.parts {
			if p.name.Min <= tid && tid <= p.name.Max {
				list = append(list, p)
			}
		}
		return list
	}
	i := v.upTo(tid) - 1
	if i < 0 || v.parts[i].name.Max < tid {
		return nil
	}
	return v.parts[i:][:1]
}

// upTo returns how many parts have ranges that begin at a tid or before.
func (v *bundles) upTo(tid zodb.TID) int {
	return sort.Search(len(v.parts), func(i int) bool { return v.parts[i].name.Min > tid })
}

// placeOf is where a member is.
type placeOf struct {
	*part
	bundle.Place
}

// find returns where a member is that is not gone; fs.ErrNotExist: it is not there.
func (v *bundles) find(n layout.Name) (placeOf, error) {
	for _, p := range v.in(n.TID) {
		var at bundle.Place
		number := int64(-1)
		var err error
		if n.Kind == layout.KindRevision {
			var e bundle.Revision
			e, number, err = p.Find(n.OID, n.TID)
			at = e.Place
		} else {
			var e bundle.Transaction
			e, number, err = p.LatestTransaction(n.TID)
			if at = e.Place; e.TID != n.TID {
				number = -1
			} else if number >= 0 {
				number += p.Revisions
			}
		}
		if err != nil {
			return placeOf{part: p}, v.failed(p, err)
		}
		if number >= 0 && !p.gone.Has(number) {
			return placeOf{p, at}, nil
		}
	}
	return placeOf{}, &fs.PathError{Op: "read", Path: v.place(n), Err: fs.ErrNotExist}
}

// place implements [view]. Members and heads have the path of the bundle whose range has them.
func (v *bundles) place(n layout.Name) string {
	switch {
	case n.Kind == layout.KindObject || n.Kind == layout.KindPointer:
		return bundlesDir(sideA)
	case !inBundle(n):
		return v.trees.place(n)
	}
	if in := v.in(n.TID); len(in) > 0 {
		return in[0].path
	}
	return bundlesDir(sideA)
}

func bundlesDir(side string) string { return side + "/bundles" }

func (v *bundles) pends(n layout.Name) bool {
	_, ok := v.pending[n]
	return ok
}

// read implements [view].
func (v *bundles) read(w *worker, n layout.Name) (data []byte, where string, err error) {
	if v.pends(n) || !inBundle(n) {
		return v.trees.read(w, n)
	}
	data, where = w.frame.member(n), w.frame.path()
	if data == nil {
		var at placeOf
		if at, err = v.find(n); err != nil {
			return nil, v.place(n), err
		}
		where = at.path
		if data, err = w.other.load(at, n); err != nil {
			return nil, where, err
		}
	}
	if n.Kind == layout.KindTransaction {
		return v.relink(data, n.TID), where, nil
	}
	return data, where, nil
}

// previousAt is where a transaction names the one before. No checksum covers that.
const previousAt = 24

// relink makes a transaction name the one before it that is there, if a pack explains that the
// one that it names is not. No file is changed where packs remove transactions.
func (v *bundles) relink(data []byte, tid zodb.TID) []byte {
	if len(data) < record.TransactionHeaderSize {
		return data
	}
	previous := zodb.TIDFromBytes(data[previousAt:])
	if previous == 0 || previous >= tid || previous >= v.packed || len(v.in(previous)) == 0 {
		return data
	}
	if _, err := v.find(layout.Transaction(previous)); !errors.Is(err, fs.ErrNotExist) {
		return data
	}
	older, err := v.olderMember(tid)
	if err != nil {
		return data
	}
	data = slices.Clone(data)
	binary.BigEndian.PutUint64(data[previousAt:], uint64(older))
	return data
}

// open implements [view], for blobs.
func (v *bundles) open(n layout.Name) (f vfs.File, where string, err error) { return v.trees.open(n) }

// size implements [view].
func (v *bundles) size(n layout.Name) (size int64, where string, err error) {
	if v.pends(n) || !inBundle(n) {
		return v.trees.size(n)
	}
	at, err := v.find(n)
	if err != nil {
		return 0, v.place(n), err
	}
	return int64(at.Length), at.path, nil
}

// head implements [view]: the newest revision that there is an entry of, unless that is gone.
func (v *bundles) head(w *worker, oid zodb.OID) (h head, s state, defect Finding) {
	if v.pends(layout.Pointer(oid)) {
		return v.trees.head(w, oid)
	}
	if tid, ok := w.frame.head(oid); ok {
		return head{tid: tid, path: w.frame.path()}, sound, Finding{}
	}
	newest, gone := head{path: bundlesDir(sideA)}, false
	for _, p := range slices.Backward(v.parts) {
		if p.name.Max < newest.tid {
			break
		}
		e, number, err := p.Latest(oid, zodb.MaxTID)
		if err = v.failed(p, err); told(err) {
			return head{path: p.path}, unusable, Finding{}
		}
		if err != nil {
			return head{path: p.path}, unusable, objectFinding(Unreadable, oid, 0, p.path, err.Error())
		}
		if number >= 0 && e.TID > newest.tid {
			newest, gone = head{tid: e.TID, path: p.path}, p.gone.Has(number)
		}
		if newest.tid != 0 && !v.overlap {
			break
		}
	}
	if newest.tid == 0 || gone {
		return newest, missing, Finding{}
	}
	return newest, sound, Finding{}
}

// older implements [view].
func (v *bundles) older(before zodb.TID) (older zodb.TID, err error) {
	for n := range v.pending {
		if n.Kind == layout.KindTransaction && n.TID < before {
			older = max(older, n.TID)
		}
	}
	tid, err := v.olderMember(before)
	return max(older, tid), err
}

// olderMember returns the newest transaction in a bundle before a tid; 0: there is none.
func (v *bundles) olderMember(before zodb.TID) (older zodb.TID, err error) {
	if before == 0 {
		return 0, nil
	}
	for i := v.upTo(before-1) - 1; i >= 0; i-- {
		p := v.parts[i]
		for at := before - 1; ; {
			e, number, err := p.LatestTransaction(at)
			if err != nil {
				return 0, v.failed(p, err)
			}
			if number < 0 {
				break
			}
			if !p.gone.Has(p.Revisions + number) {
				older = max(older, e.TID)
				break
			}
			at = e.TID - 1
		}
		if older != 0 && !v.overlap {
			break
		}
	}
	return older, nil
}

func (v *bundles) olderIsCheap() bool { return true }

// pended implements [view].
func (v *bundles) pended() iter.Seq2[layout.Name, pendingFile] { return v.trees.pended() }

func cutDir(name, dir string) (string, bool) {
	if len(name) > len(dir)+1 && name[:len(dir)] == dir && name[len(dir)] == '/' {
		return name[len(dir)+1:], true
	}
	return "", false
}

// bundleFault makes a finding of damage to a bundle.
func bundleFault(kind Kind, path string, format string, args ...any) Finding {
	return Finding{Kind: kind, Severity: Damage, Path: path, Detail: fmt.Sprintf(format, args...)}
}

package classic

import (
	"errors"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/zodb"
)

// Several packs may have put aside the files of one object: one an old revision, the next all that was left; or each a
// part of one that an interrupted undelete had brought back. A part of an object is not loaded, and stops the next
// pack like one that has lost its pointer. So whatever comes back of an object has the rest of it that is needed
// before it, of whichever packs: its pointer, the revision that this names, and the blob and the transaction of each
// revision. An object of which the pointer or that revision is gone for good stays aside, and so does a revision without
// its blob, and a blob without its revision: a purge that was interrupted has taken only a part.

// companions brings back some files, durably, and before them all that they need.
func (r *restorer) companions(batch []aside, n *store.Restored) error {
	var err error
	if !r.alone {
		if batch, err = r.complete(batch, n); err != nil {
			return err
		}
	}
	var revisions, others []aside
	for _, a := range batch {
		if a.name.Kind == layout.KindRevision {
			revisions = append(revisions, a)
		} else {
			others = append(others, a)
		}
	}
	if err := r.put(others, n); err != nil {
		return err
	}
	if err := r.put(revisions, n); err != nil {
		return err
	}
	return r.t.Sync()
}

// Names implements [FileRestorer].
func (r *restorer) Names(names []layout.Name, n *store.Restored) error {
	var list []aside
	for _, name := range names {
		a, found, err := r.newestAside(name, true)
		if err != nil {
			return err
		}
		if found {
			list = append(list, a)
		}
	}
	return r.put(list, n)
}

// put brings back some files, in no order, durably.
func (r *restorer) put(list []aside, n *store.Restored) error {
	if len(list) == 0 {
		return nil
	}
	e := r.t.NewEdit(store.A)
	sum := *n
	paths := make(map[string]struct{}) // several revisions have one transaction
	for _, a := range list {
		if _, twice := paths[a.path]; twice {
			continue
		}
		paths[a.path] = struct{}{}
		if err := r.file(e, a, &sum); err != nil {
			return err // none of e has its name yet
		}
	}
	*n = sum
	return e.Sync()
}

// complete brings back what some files need, and returns those that can come back then.
func (r *restorer) complete(batch []aside, n *store.Restored) (can []aside, err error) {
	objects := make(map[zodb.OID]bool)
	var missing []zodb.OID
	for _, a := range batch {
		oid := a.name.OID
		if _, known := objects[oid]; known || a.name.Kind == layout.KindTransaction {
			continue
		}
		if objects[oid], err = r.inA(layout.Pointer(oid)); err != nil {
			return nil, err
		}
		if !objects[oid] {
			missing = append(missing, oid)
		}
	}
	if err := r.objects(missing, objects, n); err != nil {
		return nil, err
	}
	lost := int64(0)
	for _, a := range batch {
		comes, err := r.comes(a, objects, &lost)
		if err != nil {
			return nil, err
		}
		if comes {
			can = append(can, a)
		}
	}
	for _, a := range can {
		if a.name.Kind != layout.KindRevision || r.stamp == 0 { // then all comes
			continue
		}
		for _, with := range []layout.Name{layout.Blob(a.name.OID, a.name.TID), layout.Transaction(a.name.TID)} {
			// That of another pack is looked for if it is a transaction; such blobs come by themselves, see ofOurs.
			b, found, err := r.newestAside(with, with.Kind == layout.KindTransaction)
			if err != nil {
				return nil, err
			}
			if found {
				can = append(can, b)
			}
		}
	}
	n.NoBlob += lost
	return can, nil
}

// comes reports whether a file can come back: it is of an object that does, with its blob or its revision. It counts
// the revisions of which the blob is lost.
func (r *restorer) comes(a aside, objects map[zodb.OID]bool, lost *int64) (bool, error) {
	switch a.name.Kind {
	case layout.KindTransaction:
		return true, nil
	case layout.KindRevision:
		whole, err := r.whole(a)
		if !whole && err == nil {
			*lost++
		}
		return whole && objects[a.name.OID], err
	case layout.KindBlob:
		there, err := r.canBe(layout.Revision(a.name.OID, a.name.TID))
		return there && objects[a.name.OID], err
	}
	return objects[a.name.OID], nil
}

// whole reports of a revision that was put aside whether its blob is there, if it has one. A purge that was interrupted,
// or a power cut, may have left one without the other.
func (r *restorer) whole(a aside) (bool, error) {
	head, size, err := readHead(r.t.fs, a.path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // it came back with something else
	}
	if err != nil {
		return false, err
	}
	o, _, err := record.ParseObjectHeader(head, size, r.t.fs.Path(a.path))
	if err != nil || !o.HasBlob() {
		return true, nil // a read of it reports the error
	}
	return r.canBe(layout.Blob(a.name.OID, a.name.TID))
}

// canBe reports whether A has a file of a name, or can have it again.
func (r *restorer) canBe(n layout.Name) (bool, error) {
	if there, err := r.inA(n); there || err != nil {
		return there, err
	}
	_, found, err := r.newestAside(n, false)
	if !found && err == nil {
		_, found, err = r.newestAside(n, true)
	}
	return found, err
}

// objects brings back the pointers of some objects, the newest of several, with the revisions that they name. It notes
// those that it could. Pointers that come later with all of the stamp are left to that.
func (r *restorer) objects(oids []zodb.OID, back map[zodb.OID]bool, n *store.Restored) error {
	var before, revisions, pointers []aside
	for _, oid := range oids {
		pointer, found, err := r.newestAside(layout.Pointer(oid), true)
		if err != nil || !found {
			if err != nil {
				return err
			}
			continue
		}
		current, revision, can, err := r.current(pointer)
		if err != nil {
			return err
		}
		if !can {
			continue
		}
		back[oid] = true
		if later, err := r.pointsLater(oid); later || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		pointers = append(pointers, pointer)
		if current == 0 {
			continue
		}
		if revision.path != "" {
			revisions = append(revisions, revision)
		}
		for _, with := range []layout.Name{layout.Blob(oid, current), layout.Transaction(current)} {
			a, found, err := r.newestAside(with, true)
			if err != nil {
				return err
			}
			if found {
				before = append(before, a)
			}
		}
	}
	for _, list := range [][]aside{before, revisions, pointers} { // each durably before what needs it
		if err := r.put(list, n); err != nil {
			return err
		}
	}
	return nil
}

// current returns the revision that a pointer names, and where it was put aside if it is not in A. can: it is there, or
// can come back. tid 0: the pointer is damaged, and a read of it reports the error.
func (r *restorer) current(pointer aside) (tid zodb.TID, revision aside, can bool, err error) {
	b, err := r.t.fs.ReadFile(pointer.path)
	if err != nil {
		return 0, revision, false, err
	}
	tid, err = record.ParsePointer(b, r.t.fs.Path(pointer.path), pointer.name.OID)
	if err != nil {
		return 0, revision, true, nil
	}
	name := layout.Revision(pointer.name.OID, tid)
	if there, err := r.inA(name); there || err != nil {
		return tid, revision, there, err
	}
	revision, found, err := r.newestAside(name, true)
	if !found || err != nil {
		return tid, revision, false, err
	}
	can, err = r.whole(revision)
	return tid, revision, can, err
}

// pointsLater reports whether the pointer of an object comes back later with all of the stamp.
func (r *restorer) pointsLater(oid zodb.OID) (bool, error) {
	if r.left != nil || r.stamp == 0 {
		return r.left == nil, nil
	}
	return r.there(r.t.Deleted(layout.Pointer(oid), r.stamp))
}

// ofOurs reports of a blob that another pack has put aside whether its revision comes back, or is back without it: where
// an undelete was interrupted, the next pack puts aside anew the blobs that were back without their revisions.
func (r *restorer) ofOurs(blob layout.Name) bool {
	if there, err := r.inA(blob); there || err != nil {
		return err != nil // it comes again
	}
	revision := layout.Revision(blob.OID, blob.TID)
	for _, path := range []string{r.t.Path(store.A, revision), r.t.Deleted(revision, r.stamp)} {
		if there, err := r.there(path); there || err != nil {
			return true
		}
	}
	return false
}

// newestAside returns the file of a name that has none in A and that a pack put aside, the last one of several;
// of every pack, or else of the one that is brought back.
func (r *restorer) newestAside(n layout.Name, every bool) (a aside, found bool, err error) {
	if there, err := r.inA(n); there || err != nil {
		return a, false, err
	}
	stamps := []int64{r.stamp}
	if every {
		if stamps, err = r.everyStamp(); err != nil {
			return a, false, err
		}
	}
	for _, stamp := range stamps {
		paths := []string{r.t.Deleted(n, stamp)}
		if stamp == 0 { // a name that the original gave
			paths = append(paths, r.t.Path(store.A, n)+deletedSuffix)
		}
		for _, path := range paths {
			if there, err := r.there(path); there || err != nil {
				return aside{path, n, stamp}, there, err
			}
		}
	}
	return a, false, nil
}

// inA reports whether A has a file of a name, which is relied on then.
func (r *restorer) inA(n layout.Name) (bool, error) {
	path := r.t.Path(store.A, n)
	there, err := r.there(path)
	if there {
		r.t.relyOn(n, path)
	}
	return there, err
}

// errStampsNotKnown says that steps have to look at all that is put aside first.
var errStampsNotKnown = errors.New("the stamps of all that is put aside are not known yet")

// everyStamp returns the stamps with which anything is put aside, the newest first.
func (r *restorer) everyStamp() ([]int64, error) {
	if r.every == nil {
		return nil, errStampsNotKnown
	}
	return r.every, nil
}

// lookAtStamps goes on looking for all stamps; known: it came to the end.
func (r *restorer) lookAtStamps() (known bool, err error) {
	for {
		a, err, ok := r.look()
		if err != nil {
			return false, err
		}
		if !ok {
			break
		}
		if a.path == "" {
			return false, nil
		}
		r.stamps.all[a.stamp] = struct{}{}
	}
	r.look, r.every = nil, newestFirst(r.stamps.all)
	return true, nil
}

// there reports whether there is a file at a path.
func (r *restorer) there(path string) (bool, error) {
	_, err := r.t.fs.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

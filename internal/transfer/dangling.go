package transfer

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// Dangling is a reference, of the current revision of an object, to one that does not
// exist. Classes are module.name, empty where they cannot be told.
type Dangling struct {
	OID         zodb.OID `json:"oid"`
	Class       string   `json:"class"`
	Target      zodb.OID `json:"target"`
	TargetClass string   `json:"target_class"`
}

// maxDangling is how many of them are listed.
const maxDangling = 100

// refMemory is how many bytes each of the sets of references may take. Oids for which
// there is no room are not looked for.
func refMemory() int64 { return budget.Within(64<<20, 16) }

// references notes the references of imported records.
type references struct {
	scanner pickle.Scanner
	refs    []zodb.OID
	targets *oidset.Set
	stored  *oidset.Set // and not deleted in this import
	deleted *oidset.Set
}

func newReferences() *references {
	return &references{targets: oidset.New(refMemory()), stored: oidset.New(refMemory()), deleted: oidset.New(refMemory())}
}

// note is called with each record. One that is no pickle refers to nothing that
// anybody can see.
func (r *references) note(rec zodb.Record) {
	if !rec.Exists {
		r.deleted.Add(rec.OID)
		return
	}
	r.stored.Add(rec.OID)
	var err error
	if r.refs, err = r.scanner.AppendStrongRefs(r.refs[:0], rec.Data); err != nil {
		return
	}
	for _, oid := range r.refs {
		r.targets.Add(oid)
	}
}

// missing returns the objects that are referred to and do not exist.
func (im *importer) missing(ctx context.Context) (*oidset.Set, bool, error) {
	missing, some := oidset.New(refMemory()), false
	look := func(oid zodb.OID) error {
		found, err := im.s.Exists(ctx, oid)
		if err == nil && !found {
			missing.Add(oid)
			some = true
		}
		return err
	}
	for oid := range im.refs.targets.Without(im.refs.stored) {
		if err := look(oid); err != nil {
			return nil, false, err
		}
	}
	for oid := range im.refs.deleted.Each() {
		if !im.refs.targets.Has(oid) {
			continue
		}
		if err := look(oid); err != nil {
			return nil, false, err
		}
	}
	return missing, some, nil
}

// dangling lists the references that the import has left dangling, as the source has
// them. The referring objects are found by reading all objects again, so only if a target is
// missing.
func (im *importer) dangling(ctx context.Context) error {
	missing, some, err := im.missing(ctx)
	if err != nil || !some {
		return err
	}
	for oid, err := range im.s.OIDs(ctx) {
		if err != nil {
			return err
		}
		rec, err := im.s.Load(ctx, oid)
		if errors.Is(err, zodb.ErrNotFound) || errors.Is(err, zodb.ErrCorrupt) {
			continue // check is for damage
		}
		if err != nil {
			return err
		}
		im.danglingOf(oid, rec.Data, missing)
	}
	return nil
}

// danglingInNew is dangling for the objects that were copied last, which are few. That one of
// them was deleted to which others refer, it does not see.
func (im *importer) danglingInNew(ctx context.Context) error {
	missing, some, err := im.missing(ctx)
	if err != nil || !some {
		return err
	}
	for oid := range im.refs.stored.Each() {
		rec, err := im.s.Load(ctx, oid)
		if errors.Is(err, zodb.ErrNotFound) || errors.Is(err, zodb.ErrCorrupt) {
			continue
		}
		if err != nil {
			return err
		}
		im.danglingOf(oid, rec.Data, missing)
	}
	return nil
}

func (im *importer) danglingOf(oid zodb.OID, data []byte, missing *oidset.Set) {
	refs, err := im.refs.scanner.AppendStrongRefs(im.refs.refs[:0], data)
	if err != nil {
		return
	}
	var classes map[zodb.OID]string
	for _, target := range refs {
		if !missing.Has(target) {
			continue
		}
		if im.result.Dangling++; len(im.result.DanglingList) >= maxDangling {
			continue
		}
		if classes == nil {
			classes = classesOf(data)
		}
		d := Dangling{OID: oid, Target: target, TargetClass: classes[target]}
		if module, name, err := pickle.Class(data); err == nil {
			d.Class = module + "." + name
		}
		im.result.DanglingList = append(im.result.DanglingList, d)
	}
}

// classesOf returns the classes that the references of a record name.
func classesOf(data []byte) map[zodb.OID]string {
	classes := make(map[zodb.OID]string)
	refs, err := pickle.References(data)
	if err != nil {
		return classes
	}
	for _, r := range refs {
		if r.Strong() && classes[r.OID] == "" {
			classes[r.OID] = r.Class
		}
	}
	return classes
}

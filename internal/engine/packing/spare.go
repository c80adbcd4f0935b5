package packing

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// goes reports whether an object is condemned and was not spared.
func (v *plan) goes(oid zodb.OID) bool {
	return v.condemned.Has(oid) && !v.all.Load() && !v.spared.Has(oid)
}

// Touch is an object that a transaction is about, and the one that refers to it:
// itself, if the transaction writes it or relies on it.
type Touch struct{ From, To zodb.OID }

// spare takes objects and all that can be reached from them out of the condemned ones,
// durably. guard.mu must be held.
func (v *plan) spare(ctx context.Context, touched []Touch) error {
	var work []Touch
	hit := false
	for _, writes := range []bool{false, true} { // its writes are looked at first
		for _, r := range touched {
			hit = hit || v.condemned.Has(r.To)
			if (r.From == r.To) == writes && v.goes(r.To) {
				work = append(work, r)
			}
		}
	}
	if len(work) == 0 {
		if hit {
			return v.keep() // it relies on objects that were spared before a restart
		}
		return nil
	}
	v.batch.Lock()
	defer v.batch.Unlock()
	src := v.s.direct
	found := make(map[zodb.OID]bool)
	var refs []zodb.OID
	for len(work) > 0 {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		if found[r.To] || !v.goes(r.To) {
			continue
		}
		o, err := src.Current(ctx, r.To)
		if errors.Is(err, pack.ErrNoObject) {
			if r.From != r.To && v.gc {
				return &zodb.DanglingError{OID: r.From, Target: r.To}
			}
			if r.From != r.To {
				continue // the check of references says it: it was deleted before
			}
			// It is gone already. If the transaction makes it anew, that is not to go
			// when the plan is carried out once more.
			found[r.To] = true
			continue
		}
		if err != nil {
			return err
		}
		found[r.To] = true
		if refs, err = pickle.AppendStrongRefs(refs[:0], o.Data); err != nil && len(o.Data) > 0 {
			return v.sparedAll() // it may refer to anything
		}
		for _, to := range refs {
			if !found[to] && v.goes(to) {
				work = append(work, Touch{r.To, to})
			}
			if v.index != nil {
				_ = v.index.add(r.To, to) // never an error
			}
		}
	}
	oids := make([]zodb.OID, 0, len(found))
	for oid := range found {
		oids = append(oids, oid)
	}
	if err := v.keep(oids...); err != nil {
		return err
	}
	for _, oid := range oids {
		if ok, _ := v.spared.Add(oid); !ok {
			return v.sparedAll()
		}
	}
	return nil
}

func (v *plan) spareAll() error {
	v.batch.Lock()
	defer v.batch.Unlock()
	return v.sparedAll()
}

// sparedAll spares everything that is not removed yet. batch must be held.
func (v *plan) sparedAll() error {
	if err := v.keep(pack.Everything); err != nil {
		return err
	}
	v.all.Store(true)
	if v.index != nil {
		v.index.abort() // it lacks some of the objects that stay
	}
	return nil
}

// keep makes durable that objects are spared. batch must be held.
func (v *plan) keep(oids ...zodb.OID) error {
	if err := v.files.Spare(oids...); err != nil {
		return fmt.Errorf("keep objects from being packed: %w", vfs.WithFull(err))
	}
	return nil
}

// spareAgain takes up the objects that were spared before a restart.
func (v *plan) spareAgain(oids []zodb.OID) {
	for _, oid := range oids {
		if oid == pack.Everything {
			v.all.Store(true)
		} else if ok, _ := v.spared.Add(oid); !ok {
			v.all.Store(true)
		}
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/pack"
	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/zodb"
)

// goes reports whether an object is condemned and was not spared.
func (v *verdict) goes(oid zodb.OID) bool {
	return v.condemned.Has(oid) && !v.all.Load() && !v.spared.Has(oid)
}

// touch is an object that a transaction is about, and the one that refers to it:
// itself, if the transaction writes it or relies on it.
type touch struct{ from, to zodb.OID }

// touched returns all objects that a transaction writes, relies on, or refers to.
// unseen is an error about a record whose references cannot be seen. The
// transaction holds its mutex.
func (t *Txn) touched() (list []touch, unseen, err error) {
	for oid := range t.checks {
		list = append(list, touch{oid, oid})
	}
	var refs []zodb.OID
	for op := range t.ops.all() {
		oid := op.oid
		list = append(list, touch{oid, oid})
		if op.gone {
			continue
		}
		data, err := t.spool.get(op.data)
		if err != nil {
			return nil, nil, err
		}
		refs, err = pickle.AppendStrongRefs(refs[:0], data)
		if err != nil {
			unseen = errors.Join(unseen, &pack.BrokenError{OID: oid, Err: fmt.Errorf("a record that was stored meanwhile: %w", err)})
			continue
		}
		for _, to := range refs {
			list = append(list, touch{oid, to})
		}
	}
	return list, unseen, nil
}

// spare takes objects and all that can be reached from them out of what is
// condemned, durably. packGuard.mu must be held.
func (v *verdict) spare(ctx context.Context, touched []touch) error {
	var work []touch
	hit := false
	for _, writes := range []bool{false, true} { // what it writes is looked at first
		for _, r := range touched {
			hit = hit || v.condemned.Has(r.to)
			if (r.from == r.to) == writes && v.goes(r.to) {
				work = append(work, r)
			}
		}
	}
	if len(work) == 0 {
		if hit {
			return v.keep() // it relies on what was spared before a restart
		}
		return nil
	}
	v.batch.Lock()
	defer v.batch.Unlock()
	src := packSource{v.s}
	found := make(map[zodb.OID]bool)
	var refs []zodb.OID
	for len(work) > 0 {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		if found[r.to] || !v.goes(r.to) {
			continue
		}
		o, err := src.Current(ctx, r.to)
		if errors.Is(err, pack.ErrNoObject) {
			if r.from != r.to && v.gc {
				return &zodb.DanglingError{OID: r.from, Target: r.to}
			}
			if r.from != r.to {
				continue // the check of references says it: it was deleted before
			}
			// It is gone already. If the transaction makes it anew, that is not to go
			// when the plan is carried out once more.
			found[r.to] = true
			continue
		}
		if err != nil {
			return err
		}
		found[r.to] = true
		if refs, err = pickle.AppendStrongRefs(refs[:0], o.Data); err != nil && len(o.Data) > 0 {
			return v.sparedAll() // it may refer to anything
		}
		for _, to := range refs {
			if !found[to] && v.goes(to) {
				work = append(work, touch{r.to, to})
			}
			if v.index != nil {
				_ = v.index.add(r.to, to) // never an error
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

func (v *verdict) spareAll() error {
	v.batch.Lock()
	defer v.batch.Unlock()
	return v.sparedAll()
}

// sparedAll spares everything that is not removed yet. batch must be held.
func (v *verdict) sparedAll() error {
	if err := v.keep(pack.Everything); err != nil {
		return err
	}
	v.all.Store(true)
	if v.index != nil {
		v.index.abort() // not all of what stays is in it
	}
	return nil
}

// keep makes durable that objects are spared. batch must be held.
func (v *verdict) keep(oids ...zodb.OID) error {
	if err := v.files.Spare(oids...); err != nil {
		return fmt.Errorf("keep objects from being packed: %w", withDiskFull(err))
	}
	return nil
}

// spareAgain takes up what was spared before a restart.
func (v *verdict) spareAgain(oids []zodb.OID) {
	for _, oid := range oids {
		if oid == pack.Everything {
			v.all.Store(true)
		} else if ok, _ := v.spared.Add(oid); !ok {
			v.all.Store(true)
		}
	}
}

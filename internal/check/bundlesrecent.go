package check

import (
	"context"
	"errors"
	"sync"

	"github.com/dirstorage/dirstorage/zodb"
)

// lookups is told of bundles in which something cannot be looked up.
type lookups struct {
	damage func(Finding) // nil: nobody is told; set before anything is looked up

	mu   sync.Mutex
	told map[*part]bool // guarded by mu
}

// recent implements [view]. The indexes of the bundles are read that have later transactions.
func (v *bundles) recent(ctx context.Context, workers int, since zodb.TID, damage func(Finding)) {
	var later []*part
	for _, p := range v.parts {
		if p.name.Max > since {
			later = append(later, p)
		}
	}
	v.lookups.told = make(map[*part]bool)
	v.checkIndexes(ctx, workers, later, damage)
	v.lookups.damage = damage
}

// toldError is an error that there is a finding about.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// told reports whether there is a finding about an error.
func told(err error) bool {
	_, ok := errors.AsType[toldError](err)
	return ok
}

// failed notes that something could not be looked up in a bundle, and returns the error. After
// recent it is one that is told.
func (v *bundles) failed(p *part, err error) error {
	l := &v.lookups
	if err == nil || l.damage == nil {
		return err
	}
	l.mu.Lock()
	first := !l.told[p]
	l.told[p] = true
	l.mu.Unlock()
	if first {
		l.damage(bundleFault(bundleKind(err), p.path, "%s: it is not known whether the bundle has what was looked for in it; a check without --since tells more", reason(err)))
	}
	return toldError{err}
}

package check

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// walk implements [view]. The first one that asks for damage reads every frame, in order.
func (v *bundles) walk(ctx context.Context, workers int, visit visitor) {
	files := visit
	files.other = func(s stranger) {
		if !v.known(s) && visit.other != nil {
			visit.other(s)
		}
	}
	v.trees.walk(ctx, workers, files)
	if visit.damage != nil {
		v.damage = visit.damage
		v.checkIndexes(ctx, workers, v.parts, visit.damage)
	}
	if !v.ready && ctx.Err() == nil {
		v.findHeads(ctx, workers, visit.damage)
		v.ready = ctx.Err() == nil
	}
	run(ctx, workers, func(ctx context.Context, p *pool, w *worker) {
		for _, part := range v.parts {
			p.do(ctx, w, func(ctx context.Context, w *worker) {
				if visit.damage != nil {
					v.walkFrames(ctx, p, w, part, visit)
				} else {
					v.walkIndex(ctx, w, part, visit)
				}
			})
		}
	})
}

// known reports whether a file of A or B is one of the bundles or lists that were opened, or left
// aside with a finding.
func (v *bundles) known(s stranger) bool {
	rest, ok := cutDir(s.below, "bundles")
	if !ok || s.kind != 0 {
		return false
	}
	_, _, ok = bundle.ParseName(rest)
	return ok
}

// walkIndex visits the entries of the index of a part.
func (v *bundles) walkIndex(ctx context.Context, w *worker, p *part, visit visitor) {
	var batch []found
	flush := func() {
		visit.files(ctx, w, batch)
		batch = batch[:0]
	}
	number := int64(0)
	for e, err := range p.RevisionsFrom(0) {
		if err != nil || ctx.Err() != nil {
			v.unread(p, err)
			break
		}
		if !p.gone.Has(number) {
			batch = v.append(batch, p, e.Name(), p.heads.has(number))
		}
		if number++; len(batch) >= batchSize {
			flush()
		}
	}
	number = p.Revisions
	for e, err := range p.TransactionsFrom(0) {
		if err != nil || ctx.Err() != nil {
			v.unread(p, err)
			break
		}
		if !p.gone.Has(number) {
			batch = v.append(batch, p, e.Name(), false)
		}
		if number++; len(batch) >= batchSize {
			flush()
		}
	}
	flush()
}

// unread reports that an index that was read before cannot be read now, if err says that: a walk
// lacks its members. Damage was found before.
func (v *bundles) unread(p *part, err error) {
	if err != nil && v.damage != nil && !errors.Is(err, zodb.ErrCorrupt) {
		v.damage(bundleFault(Unreadable, p.path, "%v", err))
	}
}

// append appends a member that is there, and its object if it is the current revision of it.
func (v *bundles) append(batch []found, p *part, n layout.Name, current bool) []found {
	if v.pends(n) || v.overlap && v.in(n.TID)[0] != p && v.elsewhere(p, n) {
		return batch
	}
	batch = append(batch, found{name: n, path: p.path})
	if current && !v.pends(layout.Pointer(n.OID)) {
		batch = append(batch, found{name: layout.Object(n.OID), path: p.path, head: true})
	}
	return batch
}

// elsewhere reports whether a part is not the one in which a member is looked for.
func (v *bundles) elsewhere(p *part, n layout.Name) bool {
	at, err := v.find(n)
	return err == nil && at.part != p
}

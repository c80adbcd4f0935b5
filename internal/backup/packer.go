package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/zodb"
)

// packer fills an archive from a storage.
type packer struct {
	c     *creation
	w     *archive.Writer
	files int64
	blobs int64 // that revisions say they have

	mu sync.Mutex // guards the problems: names are found beside the reading
}

// addData adds what is in A.
func (p *packer) addData(ctx context.Context) error {
	h, m := p.c.home, p.c.m
	after, incremental := m.After()
	if !incremental {
		return p.add(ctx, h.whole(ctx))
	}
	var err error
	if h.full() {
		// An archive that has begun can't be taken back, so whether the way leads to
		// the reference is tried first. It reads the transactions alone.
		err = h.leadsTo(ctx, after)
	}
	switch {
	case !h.full() || errors.Is(err, errUnlinked):
		err = p.add(ctx, h.changedByName(ctx, after))
	case err == nil:
		err = p.add(ctx, h.changed(ctx, after))
	}
	if err != nil {
		return err
	}
	return p.add(ctx, func(yield func(string, error) bool) {
		names := []layout.Name{layout.XOID, layout.XSerial}
		if h.packed > after {
			// Only then may a transaction that is new here have lost something.
			names = append(names, layout.XPacked)
		}
		for _, n := range names {
			if !yield(h.path(n), nil) {
				return
			}
		}
	})
}

// leadsTo follows the transactions back to a reference.
func (h *home) leadsTo(ctx context.Context, after zodb.TID) error {
	for tid := h.serial; tid > after; {
		t, err := h.transaction(tid)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && tid <= h.packed && tid != h.serial {
				return errUnlinked
			}
			return err
		}
		tid = t.Previous
		if tid < after && h.packed < after {
			return fmt.Errorf("transaction %s names %s as the one before: %s, with which the reference ends, is not part of this history", t.TID, tid, after)
		}
	}
	return nil
}

func (p *packer) add(ctx context.Context, names func(yield func(string, error) bool)) error {
	m := p.c.m
	for f, err := range p.c.home.read(ctx, names) {
		if err != nil {
			return err
		}
		if _, err := p.w.Add(f.name, f.size, f.modTime, f.reader()); err != nil {
			return err
		}
		m.Counts.count(f.db.Kind)
		if f.hasBlob {
			p.blobs++
		}
		if f.problem != "" {
			p.problem(f.problem)
		}
		p.files++
		p.c.read += f.size
		if p.c.o.Progress != nil {
			p.c.o.Progress(Progress{Files: p.files, Bytes: p.c.read})
		}
	}
	return nil
}

// maxProblems is how many are told one by one.
const maxProblems = 20

func (p *packer) problem(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.c.m
	if m.ProblemCount++; m.ProblemCount <= maxProblems {
		m.Problems = append(m.Problems, text)
		p.c.o.Warn("the storage has damage, which is backed up as it is: " + text)
	}
}

// finish compares what can only be compared at the end.
func (p *packer) finish() {
	if n := p.c.m.Counts.Blobs; n != p.blobs {
		p.problem(fmt.Sprintf("%d revisions say that they have a blob, and there are %d files of blobs", p.blobs, n))
	}
}

package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/zodb"
)

// mergeMemory in bytes limits the set of oids that [Merge] has written.
const mergeMemory = 256 << 20

// MergeOptions of [Merge]. Now is mandatory.
type MergeOptions struct {
	// Name of the last backup of the chain that is merged.
	Name     string
	Now      func() time.Time
	Progress func(Progress)
	// FrameSize is for tests; see archive.Options.
	FrameSize int
}

// Merge makes a full backup of a chain, without the storage. The members stay;
// backups that build upon the last of them find the new one in its place. Every
// byte that is read is compared with its SHA-256.
func Merge(ctx context.Context, store objstore.Store, o MergeOptions) (*Manifest, error) {
	r, lock, err := openLocked(ctx, store)
	if err != nil {
		return nil, err
	}
	m, err := r.merge(ctx, o)
	return m, errors.Join(err, lock.Close())
}

func (r *Repository) merge(ctx context.Context, o MergeOptions) (*Manifest, error) {
	last, err := r.Get(o.Name)
	if err != nil {
		return nil, err
	}
	plan, err := r.Exactly(last)
	if err != nil {
		return nil, err
	}
	if len(plan.Chain) < 2 {
		return nil, fmt.Errorf("backup %s is a full one: there is nothing to merge", last.Name)
	}
	if last.original {
		return nil, fmt.Errorf("backup %s: %w: restore it, and make a full backup", last.Name, ErrOriginal)
	}
	m := *last
	m.Kind, m.Reference, m.MergedFrom = Full, nil, nil
	m.Counts, m.Problems, m.ProblemCount = Counts{}, nil, 0
	m.Began = o.Now()
	m.Name = nameOf(last.SnapshotAt, Full, r.taken)
	for _, b := range plan.Chain {
		m.MergedFrom = append(m.MergedFrom, b.Name)
	}
	err = putBackup(ctx, r.Store, &m, archive.Options{FrameSize: o.FrameSize}, o.Now, func(w *archive.Writer) error {
		g := &merger{r: r, o: o, m: &m, w: w, copies: formats.Copies(layout.Format(m.Format)), seen: make(map[layout.Name]bool), emitted: oidset.New(mergeMemory)}
		for i := len(plan.Chain) - 1; i >= 0; i-- {
			if err := g.add(ctx, plan.Chain[i], i == len(plan.Chain)-1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("merge %s: %w", o.Name, err)
	}
	return &m, nil
}

// merger copies a chain into one archive, the newest member first.
type merger struct {
	r       *Repository
	o       MergeOptions
	m       *Manifest
	w       *archive.Writer
	copies  store.Copies
	emitted *oidset.Set          // objects of which the file was written that says which revision is current
	seen    map[layout.Name]bool // marks that were written
	files   int64
	bytes   int64
}

func (g *merger) add(ctx context.Context, b *Manifest, newest bool) error {
	after, _ := b.After()
	for i, err := range g.r.Items(ctx, b, Range{}) {
		if err != nil {
			return err
		}
		d := g.copies.Describe(i.Name)
		if take, err := g.take(d, i, newest); err != nil || !take {
			if err != nil {
				return err
			}
			continue
		}
		if i.Dir {
			err = g.w.AddDir(i.Name, i.ModTime)
		} else {
			var content io.Reader
			if content, err = g.over(d, i, after); err == nil {
				_, err = g.w.Add(i.Name, i.Size, i.ModTime, content)
			}
		}
		if err != nil {
			return err
		}
		g.m.Counts.count(d)
		g.files++
		g.bytes += i.Size
		if g.o.Progress != nil {
			g.o.Progress(Progress{Files: g.files, Bytes: g.bytes})
		}
	}
	return nil
}

// take reports whether an entry belongs into the result. A file that is written once is
// in one member only; of a replaced one the newest counts.
func (g *merger) take(d store.Description, i *Item, newest bool) (bool, error) {
	switch {
	case d.Replaced && d.Name.Kind == layout.KindObject:
		room, fresh := g.emitted.Add(d.Name.OID)
		if !room {
			return false, fmt.Errorf("the set of the oids in these backups takes more than %d MiB: make a full backup instead", mergeMemory>>20)
		}
		return fresh, nil
	case d.Replaced:
		fresh := !g.seen[d.Name]
		g.seen[d.Name] = true
		return fresh, nil
	case d.Name.Kind == 0:
		// config, directories, and strange files of A.
		return newest || !i.Dir && d.Side == store.A, nil
	}
	return true, nil
}

// over returns the content of an entry, laid over a reference.
func (g *merger) over(d store.Description, i *Item, after zodb.TID) (io.Reader, error) {
	if !d.Linked || after == 0 {
		return i.Content(), nil
	}
	b, err := io.ReadAll(i.Content())
	if err == nil {
		b = g.copies.Over(i.Name, b, after)
	}
	return bytes.NewReader(b), err
}

// count adds an entry, Entries aside.
func (c *Counts) count(d store.Description) {
	c.Objects += d.Counts.Objects
	c.Revisions += d.Counts.Revisions
	c.Transactions += d.Counts.Transactions
	c.Blobs += d.Counts.Blobs
}

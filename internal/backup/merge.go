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
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/zodb"
)

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
	m.Counts, m.Bundles, m.Problems, m.ProblemCount = Counts{}, nil, nil, 0
	m.Began = o.Now()
	m.Name = nameOf(last.SnapshotAt, Full, r.taken)
	for _, b := range plan.Chain {
		m.MergedFrom = append(m.MergedFrom, b.Name)
	}
	err = putBackup(ctx, r.Store, &m, archive.Options{FrameSize: o.FrameSize}, o.Now, func(w *archive.Writer) error {
		copies := formats.Copies(layout.Format(m.Format))
		g := &merger{r: r, o: o, m: &m, w: w, copies: copies, layers: copies.Layers(), counter: copies.Counter()}
		for i := len(plan.Chain) - 1; i >= 0; i-- {
			if err := g.add(ctx, plan.Chain[i], i == len(plan.Chain)-1); err != nil {
				return err
			}
		}
		m.Counts.add(g.counter.Counts())
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
	layers  store.Layers
	counter store.Counter
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
			err = g.file(d, i, after)
		}
		if err != nil {
			return err
		}
		g.files++
		g.bytes += i.Size
		if g.o.Progress != nil {
			g.o.Progress(Progress{Files: g.files, Bytes: g.bytes})
		}
	}
	return nil
}

// take reports whether an entry belongs into the result.
func (g *merger) take(d store.Description, i *Item, newest bool) (bool, error) {
	if i.Dir || d.Side != store.A {
		return newest, nil // those of config as well
	}
	take, err := g.layers.Take(i.Name)
	if errors.Is(err, store.ErrLayers) {
		err = fmt.Errorf("these backups have %w: make a full backup instead", err)
	}
	return take, err
}

// file adds a file.
func (g *merger) file(d store.Description, i *Item, after zodb.TID) error {
	content, err := g.over(d, i, after)
	if err != nil {
		return err
	}
	if _, err := g.w.AddAs(i.Name, i.Size, i.ModTime, counting(g.counter, i.Name, i.Size, content), d.Packed); err != nil {
		return err
	}
	if d.Named {
		g.m.Bundles = append(g.m.Bundles, i.Name)
	}
	return nil
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

package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/record"
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
		g := &merger{r: r, o: o, m: &m, w: w, format: layout.Format(m.Format), emitted: oidset.New(mergeMemory)}
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
	format  layout.Format
	emitted *oidset.Set // objects whose pointer (class Minimal: file) was written
	packed  bool        // x.packed was written
	files   int64
	bytes   int64
}

func (g *merger) add(ctx context.Context, b *Manifest, newest bool) error {
	after, _ := b.After()
	for i, err := range g.r.Items(ctx, b, Range{}) {
		if err != nil {
			return err
		}
		n, _ := g.format.Parse(strings.TrimPrefix(i.Name, "A/"))
		if take, err := g.take(n, i, newest); err != nil || !take {
			if err != nil {
				return err
			}
			continue
		}
		if i.Dir {
			err = g.w.AddDir(i.Name, i.ModTime)
		} else {
			var content io.Reader
			if content, err = relinked(n, i, after); err == nil {
				_, err = g.w.Add(i.Name, i.Size, i.ModTime, content)
			}
		}
		if err != nil {
			return err
		}
		g.m.Counts.count(n.Kind)
		g.files++
		g.bytes += i.Size
		if g.o.Progress != nil {
			g.o.Progress(Progress{Files: g.files, Bytes: g.bytes})
		}
	}
	return nil
}

// take reports whether an entry belongs into the result. What is written once
// is in one member only.
func (g *merger) take(n layout.Name, i *Item, newest bool) (bool, error) {
	switch n.Kind {
	case layout.KindPointer, layout.KindObject:
		room, fresh := g.emitted.Add(n.OID)
		if !room {
			return false, fmt.Errorf("the set of the oids in these backups takes more than %d MiB: make a full backup instead", mergeMemory>>20)
		}
		return fresh, nil
	case layout.KindXPacked:
		take := !g.packed
		g.packed = true
		return take, nil
	case layout.KindXOID, layout.KindXSerial:
		return newest, nil
	case 0:
		// config, directories, and strange files of A.
		return newest || !i.Dir && strings.HasPrefix(i.Name, "A/"), nil
	}
	return true, nil
}

// relinked returns the content of an entry. The oldest transaction after a
// reference is made to name the last one of the reference: pack may have let it
// name an earlier one, because it had removed those between, which the reference
// still has.
func relinked(n layout.Name, i *Item, after zodb.TID) (io.Reader, error) {
	if n.Kind != layout.KindTransaction || after == 0 {
		return i.Content(), nil
	}
	b, err := io.ReadAll(i.Content())
	if err == nil {
		b = Relink(b, after)
	}
	return bytes.NewReader(b), err
}

// Relink makes the file of a transaction that is later than after name it as
// the one before, if it names an earlier one. It changes b.
func Relink(b []byte, after zodb.TID) []byte {
	const tidAt, previousAt = 8, 24
	if len(b) >= record.TransactionHeaderSize {
		tid, previous := zodb.TIDFromBytes(b[tidAt:]), zodb.TIDFromBytes(b[previousAt:])
		if tid > after && previous < after {
			binary.BigEndian.PutUint64(b[previousAt:], uint64(after))
		}
	}
	return b
}

// count adds an entry of a kind, Entries aside.
func (c *Counts) count(k layout.Kind) {
	switch k {
	case layout.KindPointer:
		c.Objects++
	case layout.KindObject:
		c.Objects++
		c.Revisions++
	case layout.KindRevision:
		c.Revisions++
	case layout.KindTransaction:
		c.Transactions++
	case layout.KindBlob:
		c.Blobs++
	}
}

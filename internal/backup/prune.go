package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/objstore"
)

// PruneOptions are the rules by which [Prune] keeps chains. A chain that any of the rules
// keeps is kept; of each storage the newest chain always is, and that of the newest backup that is not known as bad.
type PruneOptions struct {
	// Chains is how many of the newest chains are kept; 0 = the rule keeps none.
	Chains int
	// Since keeps the backups that a restore of any moment since then needs, and where the last one before is known as
	// bad the last one before that is not; zero = the rule keeps nothing.
	Since time.Time
	// Broken removes also backups that can't be restored, because a link of their
	// chain is missing; else they stay.
	Broken bool
	DryRun bool
}

// Pruned lists the backups that [Prune] removed, or would remove.
type Pruned struct {
	Removed []*Manifest `json:"removed"`
	Kept    []*Manifest `json:"kept"`
	Bytes   int64       `json:"bytes"` // of the removed backups
}

// Prune removes whole chains, of the newest backup first, so that a crash leaves no
// backup without its base.
func Prune(ctx context.Context, store objstore.Store, o PruneOptions) (*Pruned, error) {
	if o.DryRun {
		r, err := Open(ctx, store)
		if err != nil {
			return nil, err
		}
		return r.pruning(o)
	}
	r, lock, err := openLocked(ctx, store)
	if err != nil {
		return nil, err
	}
	p, err := r.pruning(o)
	if err == nil && o.Broken {
		// A backup that can't be read at the moment may be the base of others.
		for name, derr := range r.Damaged {
			if !errors.Is(derr, archive.ErrDamaged) {
				err = errors.Join(err, fmt.Errorf("nothing was removed: the manifest of backup %s can't be read, so the broken backups are not known: %w", name, derr))
			}
		}
	}
	if err == nil {
		for i, m := range p.Removed {
			if err = ctx.Err(); err == nil {
				err = r.remove(ctx, m)
			}
			if err != nil {
				err = fmt.Errorf("%d of %s were removed: %w", i, human.Number(int64(len(p.Removed)), "backup"), err)
				break
			}
		}
	}
	return p, errors.Join(err, lock.Close())
}

// pruning plans. Removed comes in the order of removal.
func (r *Repository) pruning(o PruneOptions) (*Pruned, error) {
	if err := r.Newer(); err != nil {
		return nil, fmt.Errorf("nothing was removed: %w", err)
	}
	keep := make(map[*Manifest]bool)
	for _, identity := range r.Identities() {
		if err := r.keepOf(identity, o, keep); err != nil {
			return nil, err
		}
	}
	p := &Pruned{Removed: []*Manifest{}, Kept: []*Manifest{}}
	for _, m := range slices.Backward(r.Backups) {
		if keep[m] || m.original {
			p.Kept = append(p.Kept, m)
			continue
		}
		p.Removed = append(p.Removed, m)
		p.Bytes += m.Archive.Bytes + m.Index.Bytes
	}
	return p, nil
}

// keepOf marks the backups of one storage that are to be kept. A chain is as new as its newest member: that may be
// one upon an older full backup, where the full ones since are bad or of another history.
func (r *Repository) keepOf(identity string, o PruneOptions, keep map[*Manifest]bool) error {
	members := make(map[*Manifest][]*Manifest) // by the full backup
	var fulls []*Manifest                      // by the newest member
	var before *Manifest                       // full one of the chain that has the state at Since
	var goodBefore *Manifest                   // the same of those that can be restored, as far as is known
	var newest, newestGood time.Time           // of these backups
	since := make(map[*Manifest]bool)          // full ones of chains with members since
	var good *Manifest                         // full one of the newest backup that can be restored, as far as is known
	for _, m := range r.Backups {
		if m.Identity != identity {
			continue
		}
		chain, err := r.Chain(m)
		if err != nil {
			keep[m] = !o.Broken
			continue
		}
		full := chain[0]
		fulls = append(slices.DeleteFunc(fulls, func(f *Manifest) bool { return f == full }), full)
		members[full] = append(members[full], m)
		isGood := r.ready(m) == nil && r.KnownBad(m) == nil
		if isGood {
			good = full
		}
		if !m.SnapshotAt.Before(o.Since) {
			since[full] = true
			continue
		}
		if !m.SnapshotAt.Before(newest) {
			before, newest = full, m.SnapshotAt
		}
		if isGood && !m.SnapshotAt.Before(newestGood) {
			goodBefore, newestGood = full, m.SnapshotAt
		}
	}
	for i, full := range fulls {
		wanted := full == good || len(fulls)-i <= max(1, o.Chains)
		if !o.Since.IsZero() {
			wanted = wanted || full == before || full == goodBefore || since[full]
		}
		if !wanted {
			continue
		}
		for _, m := range members[full] {
			chain, err := r.Chain(m)
			if err != nil {
				return err
			}
			for _, b := range chain {
				keep[b] = true
			}
		}
	}
	return nil
}

// Removed returns an error, which matches [ErrNoBackup], if one of the backups was removed since the repository was
// opened, by prune beside a reader: then missing files are no damage.
func (r *Repository) Removed(ctx context.Context, list ...*Manifest) error {
	for _, m := range list {
		if m.original {
			continue
		}
		o, err := r.Store.Get(ctx, m.Name+manifestSuffix)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("backup %s was removed meanwhile: %w", m.Name, ErrNoBackup)
		}
		if err == nil {
			_ = o.Close() // it was not read
		}
	}
	return nil
}

package backup

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/dirstorage/dirstorage/zodb"
)

// Plan lists the backups that a restore needs.
type Plan struct {
	// Chain are the backups in the order in which they are unpacked, the full one
	// first.
	Chain []*Manifest
	// To is the transaction up to which is restored; that of the last of the chain,
	// unless Cut.
	To zodb.TID
	// Cut: the last backup of the chain holds later transactions, which are left out.
	// Then To may lie between two transactions.
	Cut bool
}

// Bytes returns the size of the archives.
func (p *Plan) Bytes() (n int64) {
	for _, m := range p.Chain {
		n += m.Archive.Bytes
	}
	return n
}

// Newest plans a restore of the last state that was backed up. It never falls
// back to an older one: that would lose transactions without a word. So a manifest
// that can't be used, of a backup that was made later, is an error.
func (r *Repository) Newest(identity string) (*Plan, error) {
	var newest *Manifest
	for _, m := range r.Backups {
		if m.Identity == identity {
			newest = m
		}
	}
	if newest == nil {
		return nil, ErrNoBackup
	}
	for name, err := range r.Damaged {
		if stampOf(name) >= stampOf(newest.Name) { // in the same second, too
			return nil, fmt.Errorf("the manifest of backup %s can't be used, and it may be newer than %s: %w; to restore %s all the same, name it",
				name, newest.Name, err, newest.Name)
		}
	}
	return r.Exactly(newest)
}

// Exactly plans a restore of one backup.
func (r *Repository) Exactly(m *Manifest) (*Plan, error) {
	chain, err := r.Chain(m)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, b := range chain {
		errs = append(errs, r.missing(b))
	}
	return &Plan{Chain: chain, To: m.TID}, errors.Join(errs...)
}

// PackedError says that a moment cannot be restored, because a pack removed revisions of
// that moment before a backup had them. It matches ErrNoBackup.
type PackedError struct {
	To     zodb.TID // the moment
	Packed zodb.TID // to when the storage was packed: from there on the backup has everything
	Backup string   // the first that would have it
}

func (e *PackedError) Error() string {
	return fmt.Sprintf("the state at %s (%s) is not known any more: the storage was packed to %s (%s) before backup %s was made",
		e.To, stampTime(e.To), e.Packed, stampTime(e.Packed), e.Backup)
}

// Is matches ErrNoBackup.
func (e *PackedError) Is(target error) bool { return target == ErrNoBackup }

func stampTime(tid zodb.TID) string { return tid.Time().UTC().Format(time.RFC3339) }

// At plans a restore of a storage as it was after a transaction, or at the
// moment that a tid stands for.
func (r *Repository) At(identity string, to zodb.TID) (*Plan, error) {
	var first, last zodb.TID
	var best *Plan
	var newest, below *Manifest
	var errs []error
	var packed *PackedError
	known := false
	for _, m := range r.Backups {
		if m.Identity != identity {
			continue
		}
		if !known {
			first, known = m.TID, true
		}
		last, newest = m.TID, m
		if m.TID < to {
			below = m
		}
		if best != nil || m.TID < to {
			continue // sorted by tid: the first that covers it leaves out the least
		}
		p, err := r.cut(m, to)
		if e, ok := errors.AsType[*PackedError](err); ok {
			packed = cmp.Or(packed, e)
		} else if err != nil {
			errs = append(errs, err)
		} else if p != nil {
			best = p
		}
	}
	switch {
	case !known:
		return nil, ErrNoBackup
	case best != nil:
		return best, nil
	case to > last && to <= zodb.TIDFromTime(newest.SnapshotAt):
		return r.Exactly(newest) // nothing was committed in between
	case to > last:
		return nil, fmt.Errorf("%w: the last transaction that was backed up is %s", ErrNoBackup, last)
	case len(errs) > 0:
		return nil, fmt.Errorf("transaction %s can't be restored: %w", to, errors.Join(errs...))
	case packed != nil:
		return nil, packed
	case below != nil && newest.Class != "Full":
		return nil, fmt.Errorf("%w: the storage is of class Minimal, which keeps no old revisions, so only states at backups are known; the last one before %s is %s, of transaction %s",
			ErrNoBackup, to, below.Name, below.TID)
	}
	return nil, fmt.Errorf("%w: the first backup is of transaction %s, and nothing is known of before", ErrNoBackup, first)
}

// cut plans a restore from a backup that ends with to or later; nil without an
// error if it does not cover it.
func (r *Repository) cut(m *Manifest, to zodb.TID) (*Plan, error) {
	after, incremental := m.After()
	switch {
	case m.TID == to:
		return r.Exactly(m)
	case incremental && to <= after, m.Class != "Full":
		return nil, nil
	case m.Packed > to:
		return nil, &PackedError{To: to, Packed: m.Packed, Backup: m.Name}
	}
	p, err := r.Exactly(m)
	if err != nil {
		return nil, err
	}
	p.To, p.Cut = to, true
	return p, nil
}

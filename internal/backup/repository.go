package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Repository is the content of a store when it was opened. It does not change.
type Repository struct {
	Store objstore.Store
	// Backups are sorted by their last transaction, and by when they ended.
	Backups []*Manifest
	// Damaged are manifests that can't be used, by the name of the backup.
	Damaged map[string]error
	// Verified holds the last result of verification of each, by name.
	Verified map[string]Verified

	objects  map[string]int64 // size by name
	leftover []string         // objects that belong to no backup
}

// Open reads the manifests of a repository, and the index of the original's
// backups if there is one. A manifest that can't be used is not an error, but one that
// can't be read at the moment, for want of descriptors or memory, is.
func Open(ctx context.Context, store objstore.Store) (*Repository, error) {
	r := &Repository{Store: store, Damaged: make(map[string]error), Verified: make(map[string]Verified), objects: make(map[string]int64)}
	for info, err := range store.List(ctx) {
		if err != nil {
			return nil, err
		}
		r.objects[info.Name] = info.Size
	}
	for object := range r.objects {
		name, suffix, ok := splitObject(object)
		if !ok || suffix != manifestSuffix {
			continue
		}
		b, err := readSmall(ctx, store, object)
		if err == nil {
			var m *Manifest
			if m, err = parseManifest(b, name); err == nil {
				r.Backups = append(r.Backups, m)
				if _, ok := r.objects[name+verifiedSuffix]; ok {
					err = r.readVerified(ctx, m)
				}
				if err == nil {
					continue
				}
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, fs.ErrNotExist):
			delete(r.objects, object) // removed meanwhile
		case vfs.Passes(err):
			return nil, err // it says nothing about the manifest
		default:
			r.Damaged[name] = err
		}
	}
	if err := r.addOriginals(ctx); err != nil {
		return nil, err
	}
	slices.SortFunc(r.Backups, compare)
	for object := range r.objects {
		name, suffix, ok := splitObject(object)
		if !ok {
			continue
		}
		_, manifest := r.objects[name+manifestSuffix]
		if !manifest && suffix != manifestSuffix {
			r.leftover = append(r.leftover, object)
		}
	}
	slices.Sort(r.leftover)
	return r, nil
}

// IsNewer reports whether an error says that a newer release wrote something. It may be sound.
func IsNewer(err error) bool {
	_, newer := errors.AsType[*layout.NewerError](err)
	return newer || errors.Is(err, errLaterFormat)
}

// Newer returns an error if a backup is of a newer release: which others it needs is not known then, so
// that nothing may be removed.
func (r *Repository) Newer() error {
	for _, name := range slices.Sorted(maps.Keys(r.Damaged)) {
		if IsNewer(r.Damaged[name]) {
			return fmt.Errorf("the manifest of backup %s can't be used: %w", name, r.Damaged[name])
		}
	}
	return nil
}

func compare(a, b *Manifest) int {
	return cmp.Or(cmp.Compare(a.TID, b.TID), a.Ended.Compare(b.Ended), strings.Compare(a.Name, b.Name))
}

func readSmall(ctx context.Context, store objstore.Store, object string) (b []byte, err error) {
	o, err := store.Get(ctx, object)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	if o.Size() > maxManifest {
		return nil, fmt.Errorf("%w: %d bytes", archive.ErrDamaged, o.Size())
	}
	return io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
}

// readVerified reads the result of the last verification of a backup, which may be another one than before. A
// damaged one counts as none: it is a remark only. An error says that it cannot be read at the moment.
func (r *Repository) readVerified(ctx context.Context, m *Manifest) error {
	var v Verified
	b, err := readSmall(ctx, r.Store, m.Name+verifiedSuffix)
	if vfs.Passes(err) || ctx.Err() != nil {
		return cmp.Or(ctx.Err(), err)
	}
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err == nil && v.isOf(m) {
		r.Verified[m.Name] = v
	} else {
		delete(r.Verified, m.Name)
	}
	return nil
}

// KnownBad returns an error, which matches [archive.ErrDamaged], if a backup, or one that it builds upon, was
// bad when it was last verified.
func (r *Repository) KnownBad(m *Manifest) error {
	chain, err := r.Chain(m)
	if err != nil {
		return err
	}
	for _, b := range chain {
		if v, ok := r.Verified[b.Name]; ok && !v.OK {
			return fmt.Errorf("%w: backup %s was bad when it was verified: %s", archive.ErrDamaged, b.Name, v.Error)
		}
	}
	return nil
}

// Get returns a backup by its name. The error matches ErrNoBackup.
func (r *Repository) Get(name string) (*Manifest, error) {
	for _, m := range r.Backups {
		if m.Name == name {
			return m, nil
		}
	}
	if err, ok := r.Damaged[name]; ok {
		return nil, fmt.Errorf("the manifest of backup %s can't be used: %w", name, err)
	}
	return nil, fmt.Errorf("%w: %s", ErrNoBackup, name)
}

// Identities returns those of all storages that are backed up here.
func (r *Repository) Identities() []string {
	var ids []string
	for _, m := range r.Backups {
		if !slices.Contains(ids, m.Identity) {
			ids = append(ids, m.Identity)
		}
	}
	return ids
}

// Reference returns the base of an incremental backup: a merge of the chain of the one that it names, or else
// that one; nil if there is none, or if it is a full one itself. No other one takes its place, though it ends with the
// same transaction: it may be of another history, or of after a pack, and lack what the named one has.
func (r *Repository) Reference(m *Manifest) *Manifest {
	if m.Reference == nil {
		return nil
	}
	var found *Manifest
	for _, b := range r.Backups {
		fits := b != m && b.Identity == m.Identity && b.original == m.original && b.TID == m.Reference.TID && b.Undeleted == m.Undeleted &&
			sameSum(b.TransactionSHA256, m.Reference.TransactionSHA256) && compare(b, m) < 0 && rank(b, m) > 0
		if fits && (found == nil || rank(b, m) > rank(found, m)) {
			found = b
		}
	}
	return found
}

// rank is higher for a better base of m; 0 for none. Backups of the original do not name incremental ones in full.
func rank(b, m *Manifest) int {
	switch last := len(b.MergedFrom) - 1; {
	case b.Kind == Full && last >= 0 && b.MergedFrom[last] == m.Reference.Name:
		return 4
	case b.Name == m.Reference.Name:
		return 3
	case b.original && b.Kind == Full:
		return 2
	case b.original:
		return 1
	}
	return 0
}

// Chain returns the backups that lead to one, the full one first. The error
// names the link that is missing.
func (r *Repository) Chain(m *Manifest) ([]*Manifest, error) {
	chain := []*Manifest{m}
	for b := m; b.Kind != Full; {
		ref := r.Reference(b)
		if ref == nil {
			return nil, fmt.Errorf("backup %s builds upon %s (transaction %s), %w", b.Name, b.Reference.Name, b.Reference.TID, r.whyMissing(b))
		}
		chain = append(chain, ref)
		b = ref
	}
	slices.Reverse(chain)
	return chain, nil
}

func (r *Repository) whyMissing(m *Manifest) error {
	if err, ok := r.Damaged[m.Reference.Name]; ok {
		return fmt.Errorf("whose manifest can't be used: %w", err)
	}
	if b, err := r.Get(m.Reference.Name); err == nil {
		if b.Identity != m.Identity {
			return fmt.Errorf("which is of another storage: identity %s, not %s", b.Identity, m.Identity)
		}
		return fmt.Errorf("which was changed since this backup was made: %w", archive.ErrDamaged)
	}
	return fmt.Errorf("which is not here: %w", ErrNoBackup)
}

// missing returns an error if the archive or index of a backup is not there in
// its full size.
func (r *Repository) missing(m *Manifest) error {
	for _, f := range []File{m.Archive, m.Index} {
		if f.Name == "" {
			continue // the original has no index
		}
		size, ok := r.objects[f.Name]
		switch {
		case !ok:
			return fmt.Errorf("%w: %s is missing", archive.ErrDamaged, r.Store.Path(f.Name))
		case size != f.Bytes && !m.original:
			return fmt.Errorf("%w: %s has %d bytes, and had %d when it was written", archive.ErrDamaged, r.Store.Path(f.Name), size, f.Bytes)
		}
	}
	return nil
}

// ReadIndex yields the index of a backup, and an error that matches
// archive.ErrDamaged at the end if it differs from the written one.
func (r *Repository) ReadIndex(ctx context.Context, m *Manifest) iter.Seq2[archive.Line, error] {
	return func(yield func(archive.Line, error) bool) {
		o, err := r.Store.Get(ctx, m.Index.Name)
		if err != nil {
			yield(archive.Line{}, err)
			return
		}
		defer o.Close()
		in := newHashReader(io.NewSectionReader(o, 0, o.Size()))
		entries := int64(0)
		for line, err := range archive.ReadIndex(in) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", r.Store.Path(m.Index.Name), err)
			}
			if line.Entry != nil {
				entries++
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			yield(archive.Line{}, err)
			return
		}
		if in.sum() != m.Index.SHA256 || entries != m.Counts.Entries {
			yield(archive.Line{}, fmt.Errorf("%w: %s was changed since it was written: its SHA-256 is %s, want %s",
				archive.ErrDamaged, r.Store.Path(m.Index.Name), in.sum(), m.Index.SHA256))
		}
	}
}

// put writes a small object.
func put(ctx context.Context, store objstore.Store, object string, b []byte) error {
	return store.Put(ctx, object, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// remove deletes a backup; its manifest goes first.
func (r *Repository) remove(ctx context.Context, m *Manifest) error {
	for _, suffix := range []string{manifestSuffix, archiveSuffix, indexSuffix, verifiedSuffix} {
		err := r.Store.Delete(ctx, m.Name+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// clean removes the remains of crashes. The caller holds the lock, and opened the
// repository under it.
func (r *Repository) clean(ctx context.Context) error {
	if err := r.Store.Sweep(ctx); err != nil {
		return err
	}
	for _, object := range r.leftover {
		if err := r.Store.Delete(ctx, object); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// openLocked locks a repository, cleans it and reads it. Changes that an earlier process
// did not live to make durable are made durable first: a user of a backup relies on that.
func openLocked(ctx context.Context, store objstore.Store) (*Repository, io.Closer, error) {
	lock, err := store.Lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	err = store.Sync(ctx)
	var r *Repository
	if err == nil {
		r, err = Open(ctx, store)
	}
	if err == nil {
		err = r.clean(ctx)
	}
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	return r, lock, nil
}

// Restorable is a range of transactions, both ends included, each of which can
// be restored.
type Restorable struct {
	From zodb.TID `json:"from"`
	To   zodb.TID `json:"to"`
}

// Restorable returns the ranges of transactions of a storage that chains which
// are whole, and not known as bad, can restore, in order. Revisions that a pack took before they were backed up
// are left out.
func (r *Repository) Restorable(identity string) []Restorable {
	var list []Restorable
	for _, m := range r.Backups {
		if m.Identity != identity || r.ready(m) != nil || r.KnownBad(m) != nil {
			continue
		}
		from := m.TID
		if after, ok := m.After(); ok && m.Class == "Full" {
			from = after
			if m.Packed > after {
				from = min(m.Packed, m.TID)
			}
		}
		last := len(list) - 1
		if last >= 0 && from <= list[last].To {
			list[last].To = max(list[last].To, m.TID)
			continue
		}
		list = append(list, Restorable{from, m.TID})
	}
	return list
}

// ready returns an error if a backup and its chain are not all there.
func (r *Repository) ready(m *Manifest) error {
	chain, err := r.Chain(m)
	for _, b := range chain {
		err = errors.Join(err, r.missing(b))
	}
	return err
}

package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/objstore"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Options of [Run]. Store, Snapshot and Now are mandatory.
type Options struct {
	Store objstore.Store
	// Snapshot says which storage, and how to bring it into snapshot mode.
	Snapshot snapshot.Options
	// Kind of backup; "" = a full one if there is none to build upon or the chain
	// is due, else an incremental one.
	Kind Kind
	// Before, if not zero, chooses the newest backup whose snapshot is older as the
	// reference of an incremental one, instead of the newest.
	Before time.Time
	// FullBefore, for Kind "": a chain is due if its full backup is older.
	// MaxChain: or if it has that number of members; 0 = any number.
	FullBefore time.Time
	MaxChain   int
	// Now is the clock.
	Now func() time.Time
	// Warn, if not nil, is told about harmless oddities.
	Warn func(string)
	// Progress, if not nil, is called after each file.
	Progress func(Progress)
	// FrameSize is for tests; see archive.Options.
	FrameSize int
}

// Progress tells how far a command has come.
type Progress struct {
	Files int64
	Bytes int64 // of content
	Total int64 // bytes, or files if TotalFiles; 0 = unknown
	// TotalFiles is how many files there will be; 0 = unknown.
	TotalFiles int64
}

// Result describes the work of [Run].
type Result struct {
	// Backup is the new one; nil if there was nothing to back up.
	Backup *Manifest `json:"backup"`
	// Unchanged is the backup since which nothing has changed, if Backup is nil.
	Unchanged *Manifest `json:"unchanged,omitempty"`
	// Joined: it is of a snapshot that somebody else entered, at SnapshotAt. Later
	// commits are in no backup.
	Joined     bool      `json:"joined,omitempty"`
	SnapshotAt time.Time `json:"snapshot_at"`
	// BytesRead is the number of bytes read of the storage.
	BytesRead int64 `json:"bytes_read"`
	// InSnapshot is how long the storage was in snapshot mode for it.
	InSnapshot time.Duration `json:"in_snapshot_ns"`
	// Damaged are the other backups in the repository whose manifests are damaged, ascending.
	Damaged []string `json:"damaged,omitempty"`
}

// ErrNoReference is returned by [Run] if there is no backup that an incremental
// one could build upon.
var ErrNoReference = errors.New("there is no backup to build upon")

// Run makes a backup. The storage is in snapshot mode only until the data were
// read. On an error the repository is as it was, except for remains that the next command
// removes.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	repo, lock, err := openLocked(ctx, o.Store)
	if err != nil {
		return nil, err
	}
	result, err := run(ctx, o, repo)
	return result, errors.Join(err, lock.Close())
}

func run(ctx context.Context, o Options, repo *Repository) (*Result, error) {
	for name, err := range repo.Damaged {
		o.Warn(fmt.Sprintf("the manifest of backup %s can't be used: %v", name, err))
	}
	began := o.Now()
	held, err := snapshot.Enter(ctx, o.Snapshot)
	if err != nil {
		return nil, err
	}
	c := &creation{o: o, repo: repo, held: held, began: began, entered: o.Now()}
	result, err := c.run(ctx)
	if result != nil {
		for _, name := range slices.Sorted(maps.Keys(repo.Damaged)) {
			if !IsNewer(repo.Damaged[name]) {
				result.Damaged = append(result.Damaged, name)
			}
		}
		result.Joined, result.SnapshotAt = held.Joined, held.CompleteTo
	}
	return result, errors.Join(err, c.leave(ctx))
}

// creation is one run.
type creation struct {
	o     Options
	repo  *Repository
	held  *snapshot.Held
	left  bool
	began time.Time
	// entered is when the storage was in snapshot mode, for this backup.
	entered time.Time
	home    *home
	below   bundles // that the reference has
	m       *Manifest
	read    int64
}

// leave gives the snapshot back, once. A storage that is gone is not an error: A stood
// still as long as we held the lock.
func (c *creation) leave(ctx context.Context) error {
	if c.left {
		return nil
	}
	c.left = true
	if err := c.held.Leave(context.WithoutCancel(ctx)); err != nil {
		c.o.Warn(fmt.Sprintf("the storage could not be told that the backup is done: %v", err))
	}
	return nil
}

func (c *creation) run(ctx context.Context) (result *Result, err error) {
	dir, err := vfs.OS(c.o.Snapshot.Home)
	if err == nil {
		c.home, err = openHome(dir)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.home.close()) }()
	names, sum, err := c.home.config()
	if err != nil {
		return nil, err
	}
	ref, err := c.reference()
	if err != nil {
		return nil, err
	}
	if ref != nil && ref.TID == c.home.serial && ref.ConfigSHA256 == sum {
		if err := c.held.Check(); err != nil {
			return nil, err
		}
		return &Result{Unchanged: ref, InSnapshot: c.o.Now().Sub(c.entered)}, nil
	}
	if c.below, err = c.repo.bundlesOf(ref); err != nil {
		return nil, err
	}
	c.begin(ref)
	c.m.ConfigSHA256 = sum
	if err := c.write(ctx, names); err != nil {
		return nil, err
	}
	c.warnOfNewer()
	if err := c.home.remember(c.m); err != nil {
		c.o.Warn(fmt.Sprintf("%s could not be written, so the next backup may have to be a full one: %v", witnessFile, err))
	}
	return &Result{Backup: c.m, BytesRead: c.read, InSnapshot: c.m.SnapshotEnd.Sub(c.entered)}, nil
}

// warnOfNewer tells of a backup that has later transactions than the storage, which was put back to an earlier state
// and does not know of it: it was restored from another repository, or by hand, and the clock was ahead, or nobody has
// opened it since.
func (c *creation) warnOfNewer() {
	for _, m := range slices.Backward(c.repo.Backups) {
		if m.Identity == c.m.Identity && m.TID > c.m.TID {
			c.o.Warn(fmt.Sprintf("backup %s ends with transaction %s, and the new one with %s, so restore and prune take that one for the newest; if its state was given up, move its files away: %s.*",
				m.Name, m.TID, c.m.TID, c.repo.Store.Path(m.Name)))
			return
		}
	}
}

// reference chooses the base of an incremental backup; nil = a full one is to be made.
func (c *creation) reference() (*Manifest, error) {
	if c.o.Kind == Full {
		return nil, nil
	}
	var ref, newest *Manifest
	var reasons []error
	var unknown []string // backups
	for i := len(c.repo.Backups) - 1; i >= 0 && ref == nil; i-- {
		m := c.repo.Backups[i]
		if m.Identity != c.home.identity || m.original {
			continue
		}
		if newest == nil {
			newest = m
		}
		if !c.o.Before.IsZero() && !m.SnapshotAt.Before(c.o.Before) {
			continue
		}
		err := c.usable(m)
		if err == nil && (c.home.undeleted.Running || m.Undeleted != c.home.undeleted.ID() || m.Undeleted != newest.Undeleted) {
			err = fmt.Errorf("files came back to older transactions (salvage, or pack --undelete) after backup %s, which lacks them", m.Name)
		}
		if e, ok := errors.AsType[*unknownError](err); ok {
			unknown = append(unknown, e.names...)
		} else if err != nil {
			reasons = append(reasons, err)
		} else {
			ref = m
		}
	}
	if len(unknown) > 0 { // one reason, which may be that of all
		reasons = append(reasons, &unknownError{unknown})
	}
	if ref == nil {
		if c.o.Kind == "" {
			for _, err := range reasons {
				c.o.Warn(fmt.Sprintf("a full backup is made: %v", err))
			}
			return nil, nil
		}
		for _, name := range slices.Sorted(maps.Keys(c.repo.Damaged)) { // it might have been one
			reasons = append(reasons, fmt.Errorf("the manifest of backup %s can't be used: %w", name, c.repo.Damaged[name]))
		}
		return nil, errors.Join(append([]error{ErrNoReference}, reasons...)...)
	}
	for _, err := range reasons {
		c.o.Warn(fmt.Sprintf("building upon backup %s: %v", ref.Name, err))
	}
	if c.o.Kind == "" && c.due(ref) {
		return nil, nil
	}
	return ref, nil
}

func (c *creation) usable(m *Manifest) error {
	if err := c.repo.ready(m); err != nil {
		return err
	}
	if err := c.repo.KnownBad(m); err != nil {
		return err
	}
	if m.Class != c.home.class || m.Format != string(c.home.format) {
		return fmt.Errorf("backup %s is of class %s and format %s", m.Name, m.Class, m.Format)
	}
	if m.TID > c.home.serial {
		return fmt.Errorf("backup %s ends with transaction %s, and the storage with %s: it was put back to an earlier state since", m.Name, m.TID, c.home.serial)
	}
	return c.home.proveReference(m)
}

// due reports whether the chain has become too old or too long.
func (c *creation) due(ref *Manifest) bool {
	chain, err := c.repo.Chain(ref)
	if err != nil {
		return true
	}
	return chain[0].SnapshotAt.Before(c.o.FullBefore) || c.o.MaxChain > 0 && len(chain) >= c.o.MaxChain
}

func (c *creation) begin(ref *Manifest) {
	h := c.home
	c.m = &Manifest{
		Schema: schema, Kind: Full, Identity: h.identity, Class: h.class, Format: string(h.format), HomeVersion: h.version,
		TID: h.serial, Time: h.serial.Time(), TransactionSHA256: h.lastSum, MaxOID: h.maxOID, Packed: h.packed,
		Undeleted: h.undeleted.ID(), Began: c.began, SnapshotAt: c.held.CompleteTo,
	}
	if ref != nil {
		c.m.Kind = Incremental
		c.m.Reference = &Reference{Name: ref.Name, TID: ref.TID, TransactionSHA256: ref.TransactionSHA256}
	}
	c.m.Name = nameOf(c.held.CompleteTo, c.m.Kind, c.repo.taken)
}

// taken reports whether there is anything of a backup of that name.
func (r *Repository) taken(name string) bool {
	for _, suffix := range []string{manifestSuffix, archiveSuffix, indexSuffix} {
		if _, ok := r.objects[name+suffix]; ok {
			return true
		}
	}
	return false
}

func (c *creation) write(ctx context.Context, config []string) error {
	err := putBackup(ctx, c.o.Store, c.m, archive.Options{FrameSize: c.o.FrameSize}, c.o.Now, func(w *archive.Writer) error {
		for _, dir := range []string{"config", string(store.A), string(store.B), "journal", "misc"} {
			if err := w.AddDir(dir, c.held.Timestamp); err != nil {
				return err
			}
		}
		p := &packer{c: c, w: w, counter: c.home.copies.Counter()}
		err := p.add(ctx, func(yield func(string, error) bool) {
			for _, name := range config {
				if !yield(name, nil) {
					return
				}
			}
		})
		if err == nil {
			err = p.addData(ctx)
		}
		if err == nil {
			err = c.held.Check()
		}
		if err != nil {
			return err
		}
		p.finish()
		c.m.SnapshotEnd = c.o.Now()
		return c.leave(ctx)
	})
	if err != nil {
		return fmt.Errorf("backup %s: %w", c.m.Name, err)
	}
	return nil
}

// putBackup writes the three objects of a backup, the manifest last. fill adds
// the entries.
func putBackup(ctx context.Context, store objstore.Store, m *Manifest, o archive.Options, now func() time.Time, fill func(*archive.Writer) error) error {
	m.Archive.Name, m.Index.Name = m.Name+archiveSuffix, m.Name+indexSuffix
	err := store.Put(ctx, m.Archive.Name, func(archiveTo io.Writer) error {
		return store.Put(ctx, m.Index.Name, func(indexTo io.Writer) error {
			w, err := archive.NewWriter(archiveTo, indexTo, o)
			if err != nil {
				return err
			}
			defer w.Abort()
			if err := fill(w); err != nil {
				return err
			}
			t, err := w.Close()
			m.Counts.Entries, m.Bytes = t.Entries, t.Bytes
			m.Archive.Bytes, m.Archive.SHA256 = t.ArchiveBytes, t.ArchiveSum
			m.Index.Bytes, m.Index.SHA256 = t.IndexBytes, t.IndexSum
			return err
		})
	})
	if err != nil {
		return err
	}
	m.Ended = now()
	b, err := m.render()
	if err != nil {
		return err
	}
	return put(ctx, store, m.Name+manifestSuffix, b)
}

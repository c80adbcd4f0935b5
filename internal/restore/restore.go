package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/check"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/formats"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options of [Run]. Repository, Plan, Parent, Name and Now are mandatory.
type Options struct {
	Repository *backup.Repository
	Plan       *backup.Plan
	// Parent is the directory in which the target is made, Name its name there.
	Parent vfs.FS
	Name   string
	// Delta brings a target that exists up to date: files that are the same there
	// are linked, not unpacked. It must be a copy of the same storage, and nobody
	// may have it open.
	Delta bool
	// AcceptDamage keeps the restored HOME although the check finds damage in it:
	// that of the storage when it was backed up.
	AcceptDamage bool
	// Format, if it is not that of the backups, is that of the HOME that is made. Then Convert has to
	// make one in an empty place of another one, and to compare the two, and neither Delta nor
	// AcceptDamage is possible. Both HOMEs are there meanwhile.
	Format   layout.Format
	Convert  func(ctx context.Context, from, to vfs.FS) error
	Now      func() time.Time
	Progress func(backup.Progress) // of the unpacking; may be nil
	Checking func(check.Progress)  // of the check of the result; may be nil
	// Checkpoint is how many bytes of content are unpacked between two moments from
	// which a killed restore goes on; default 256 MiB.
	Checkpoint int64
	// Workers is the number of files that are written at the same time; default 8.
	Workers int
	// Few is up to how many files each is made durable by itself; default 256. A sync of everything
	// waits for what other programs have written to the file system, too. Less than 0: always that.
	Few int64
}

// Result describes the work of [Run].
type Result struct {
	Backups []string `json:"backups"` // of the chain
	// TID is the last transaction of the restored HOME.
	TID zodb.TID `json:"tid"`
	// Format is that of the HOME, and Converted says that it is not that of the backups.
	Format    layout.Format `json:"format"`
	Converted bool          `json:"converted,omitempty"`
	// Files and Bytes are the amount unpacked, Linked the number of files that were the
	// same in the old copy (Delta).
	Files  int64 `json:"files"`
	Bytes  int64 `json:"bytes"`
	Linked int64 `json:"linked"`
	// Resumed: an interrupted restore was continued.
	Resumed bool          `json:"resumed"`
	Check   check.Summary `json:"check"`
	// Findings are the damage that was accepted.
	Findings []check.Finding `json:"findings,omitempty"`
}

// Errors of [Run].
var (
	// ErrRunning: another restore works on the target. The error matches vfs.ErrLocked, too.
	ErrRunning = errors.New("another restore into it runs")
	// ErrExists: there is a target already, and Delta was not asked for.
	ErrExists = errors.New("the target exists")
	// ErrMounted: Delta for a target that is a mount point, whose place nothing can take.
	ErrMounted = errors.New("a file system is mounted there, so no other directory can take its place")
	// ErrNoCopy: Delta for a target that is not a copy of a storage, because it does not exist,
	// is empty or is something else.
	ErrNoCopy = errors.New("not a copy of a storage")
	// ErrOther: Delta for a target that is a copy of another storage.
	ErrOther = errors.New("a copy of another storage")
	// ErrDamage: the check found damage in the restored HOME.
	ErrDamage = errors.New("the restored storage is damaged")
	// ErrBefore: the moment to restore to lies before the first transaction that there is.
	ErrBefore = store.ErrBefore
	// ErrPacked: pack removed revisions that are needed.
	ErrPacked = store.ErrPacked
)

// run is one restore.
type run struct {
	o    Options
	work string // name in Parent of the HOME that grows
	home vfs.FS // it
	old  vfs.FS // the old copy; nil without Delta
	// inPlace: the target is an empty directory, and work is in it.
	inPlace bool
	// held is the lock, that of the file lockFile, or of the target if that is "".
	held     vfs.Lock
	lockFile string
	convert  bool // into another format
	copies   store.Copies
	// syncEach: each file is synced when it is written, because they are few or for want of
	// SyncAll.
	syncEach bool
	syncs    syncs // of large files
	state    state
	result   Result
}

// Run restores. On an error, and after a kill, the target is as it was. The work of an
// interrupted restore is used again; after any other error it is removed. Restores into one target may
// be called concurrently, by several processes, too: one runs, and the others end with ErrRunning.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Checkpoint <= 0 {
		o.Checkpoint = 256 << 20
	}
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Few == 0 {
		o.Few = 256
	}
	last := o.Plan.Chain[len(o.Plan.Chain)-1]
	of := layout.Format(last.Format)
	if o.Format == "" {
		o.Format = of
	}
	r := &run{o: o, work: o.Name + ".restoring", copies: formats.Copies(of), convert: o.Format != of}
	r.result.Format, r.result.Converted = o.Format, r.convert
	if r.convert && (o.Delta || o.AcceptDamage) {
		return nil, fmt.Errorf("the backups are of format %s: into format %s they can neither bring a copy up to date nor be taken with damage", of, o.Format)
	}
	if err := r.lock(); err != nil {
		return nil, err
	}
	done, err := r.locked(ctx)
	if err != nil {
		return done, errors.Join(err, r.unlock(false))
	}
	if err := r.unlock(true); err != nil {
		return nil, fmt.Errorf("restore %s: it is whole and has its name, but its lock was not given back: %w", o.Parent.Path(o.Name), err)
	}
	return done, nil
}

// locked is Run with the lock.
func (r *run) locked(ctx context.Context) (*Result, error) {
	o := r.o
	if r.inPlace {
		r.work = path.Join(o.Name, within)
	}
	r.home = vfs.Sub(o.Parent, r.work)
	r.state = state{To: o.Plan.To, Cut: o.Plan.Cut}
	if r.convert {
		r.state.Format = o.Format
	}
	for _, m := range o.Plan.Chain {
		r.result.Backups = append(r.result.Backups, m.Name)
		r.state.Chain = append(r.state.Chain, m.Name+" "+m.Archive.SHA256.String())
	}
	if r.inPlace {
		moved, err := r.resumeMove()
		if moved && err == nil {
			_, err = r.finishOlder()
		}
		if moved && err == nil {
			err = r.published()
		}
		if err != nil || moved {
			return &r.result, err
		}
	} else if finished, err := r.finishOlder(); err != nil || finished {
		r.result.Resumed = true
		return &r.result, errors.Join(err, r.published())
	} else if whole, err := r.resumeWhole(); err != nil || whole {
		r.result.Resumed = true
		return &r.result, errors.Join(err, r.published())
	}
	lock, err := r.prepare()
	if err != nil {
		return nil, err
	}
	err = r.run(ctx)
	if err2 := r.syncs.wait(); err == nil {
		err = err2 // of one that nobody waited for before
	}
	if lock != nil {
		err = errors.Join(err, lock.Close())
	}
	if err != nil && ctx.Err() == nil && !interrupted(err) && r.stillLocked() == nil {
		err = errors.Join(err, r.discard())
	}
	if errors.Is(err, fs.ErrNotExist) {
		if gone := o.Repository.Removed(ctx, o.Plan.Chain...); gone != nil {
			err = fmt.Errorf("%w: %w", gone, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", o.Parent.Path(o.Name), err)
	}
	return &r.result, nil
}

// errAgain marks errors after which the work is kept: the disk is full, or can't
// be written to.
var errAgain = errors.New("run it again, it goes on where it stopped")

func interrupted(err error) bool { return errors.Is(err, errAgain) }

// prepare looks at the target and at the remains of an earlier restore. The lock is
// that of the old copy.
func (r *run) prepare() (vfs.Lock, error) {
	p := r.o.Parent
	if err := r.undoReplace(); err != nil {
		return nil, err
	}
	_, err := p.Stat(r.o.Name)
	switch {
	case err == nil && !r.o.Delta && !r.inPlace:
		return nil, fmt.Errorf("%w: %s", ErrExists, p.Path(r.o.Name))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	var lock vfs.Lock
	if r.o.Delta {
		if err := r.notMounted(); err != nil {
			return nil, err
		}
		if lock, err = r.openOld(); err != nil {
			return nil, err
		}
	}
	if err := r.resumeOrBegin(); err != nil {
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
		return nil, err
	}
	return lock, nil
}

// notMounted returns ErrMounted where the end could not succeed.
func (r *run) notMounted() error {
	yes, err := vfs.MountPoint(r.o.Parent, r.o.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // which is said where it is opened
	}
	if err == nil && yes {
		err = ErrMounted
	}
	return err
}

// openOld locks the old copy, and makes sure that it is of the same storage.
func (r *run) openOld() (vfs.Lock, error) {
	r.old = vfs.Sub(r.o.Parent, r.o.Name)
	identity, err := r.old.ReadFile("config/identity")
	if err != nil {
		if why := r.whyNoCopy(); why != "" {
			return nil, fmt.Errorf("%w: %s %s", ErrNoCopy, r.old.Path("."), why)
		}
		return nil, err
	}
	last := r.o.Plan.Chain[len(r.o.Plan.Chain)-1]
	if got := string(identity); len(got) < 32 || got[:32] != last.Identity {
		return nil, fmt.Errorf("%s is %w: its identity is %.32q, that of the backups %s", r.old.Path("."), ErrOther, got, last.Identity)
	}
	if _, err := vfs.MkdirAll(r.old, "misc"); err != nil {
		return nil, err
	}
	return r.old.Lock("misc/lock")
}

// whyNoCopy says why there is no config/identity in the target; "" if that is not so.
func (r *run) whyNoCopy() string {
	info, err := r.o.Parent.Stat(r.o.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case err != nil:
		return ""
	case !info.IsDir():
		return "is a file"
	}
	if _, err := r.old.Stat("config/identity"); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	for entry, err := range r.old.List(".") {
		if err != nil {
			return ""
		}
		if entry.Name != lostAndFound {
			return "has no config/identity"
		}
	}
	return "is an empty directory"
}

func (r *run) run(ctx context.Context) error {
	if err := r.chooseSync(); err != nil {
		return err
	}
	if !r.state.Restored {
		if err := r.restore(ctx); err != nil {
			return err
		}
	}
	if r.convert {
		if err := r.intoFormat(ctx); err != nil {
			return err
		}
	}
	if err := r.markClosed(); err != nil {
		return err
	}
	r.state.Done, r.state.TID = true, r.result.TID
	if err := r.save(); err != nil {
		return err
	}
	return r.publish()
}

// restore makes the HOME of the backups, checked and durable.
func (r *run) restore(ctx context.Context) error {
	if !r.state.Done {
		for i := r.state.Backup; i < len(r.o.Plan.Chain); i++ {
			if err := r.unpack(ctx, i); err != nil {
				return err
			}
			r.state.Backup, r.state.At, r.state.Before = i+1, 0, archive.Sum{}
			if i+1 < len(r.o.Plan.Chain) {
				if err := r.checkpoint(); err != nil {
					return err
				}
			}
		}
		// The cut of the last one can't be done twice.
		r.state.Backup = len(r.o.Plan.Chain) - 1
	}
	return r.verify(ctx)
}

// verify checks the HOME, and makes it durable.
func (r *run) verify(ctx context.Context) error {
	if err := r.readTID(); err != nil {
		return err
	}
	if err := r.check(ctx); err != nil {
		return err
	}
	return r.sync()
}

// readTID reads the last transaction of the restored HOME.
func (r *run) readTID() error {
	tid, err := r.copies.Last(r.home, store.A)
	r.result.TID = tid
	return err
}

// check reads every file of the restored HOME.
func (r *run) check(ctx context.Context) error {
	found := new(damage)
	sum, err := check.Run(ctx, check.Options{FS: r.home, Now: r.o.Now, Progress: r.o.Checking}, func(f check.Finding) {
		if f.Severity == check.Damage {
			found.add(f)
		}
	})
	r.result.Check = sum
	if err != nil || sum.Damage == 0 {
		return err
	}
	if r.o.AcceptDamage {
		r.result.Findings = found.findings
		return nil
	}
	return found
}

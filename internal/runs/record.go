package runs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Job is a kind of work whose runs are recorded.
type Job string

// The jobs. Their names are those of files, and never changed.
const (
	Check   Job = "check"
	Backup  Job = "backup"
	Pack    Job = "pack"
	Reclaim Job = "reclaim"
	Verify  Job = "verify"
	// Reading is a read for a client, in the damage that a server remembers. It has no record of its own.
	Reading Job = "read"
)

// OfHome are the jobs with a record in HOME.
func OfHome() []Job { return []Job{Check, Backup, Pack, Reclaim} }

// Directories of records.
const (
	// InHome is that in HOME, for the jobs OfHome.
	InHome = "misc/runs"
	// InRepository is that in a repository of backups, for verify.
	InRepository = "runs"
)

// version of the form of a record. Later forms keep the fields of this one.
const version = 1

// maxRecord is the size up to which a record is read.
const maxRecord = 1 << 20

// Record is the content of a file.
type Record struct {
	Version int `json:"version"`
	// Identity is that of the storage; empty for a repository. A record of another storage counts as none.
	Identity string `json:"identity,omitempty"`
	// Begun is the run that began last, and did not end; nil: there is none.
	Begun *Beginning `json:"begun,omitempty"`
	// Last is the run that ended last.
	Last *Run `json:"last,omitempty"`
	// Good is the last run that did its work; of check, the last one that came to everything.
	Good *Run `json:"good,omitempty"`
	// Damage, in the record of check, is the run of any job that found damage, until a later check that
	// came to everything finds none.
	Damage *Run `json:"damage,omitempty"`
}

// Beginning is the beginning of a run.
type Beginning struct {
	Time    time.Time `json:"time"`
	PID     int       `json:"pid"`
	Program string    `json:"program"` // its version
}

// Run is a run that has ended.
type Run struct {
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Program string    `json:"program"` // its version
	// Job, of damage, is the one that found it; empty: check.
	Job Job `json:"job,omitempty"`
	Result
}

// FoundBy is the job that found damage.
func (r *Run) FoundBy() Job { return cmp.Or(r.Job, Check) }

// Broken is the number of findings of damage but dangling references. A nil run has none.
func (r *Run) Broken() int64 {
	if r == nil || r.Check == nil {
		return 0
	}
	return r.Check.Broken()
}

// Stands reports whether damage that was not recorded is still to be told: no later check of everything,
// whose record is given, was clean.
func (r *Run) Stands(check *Record) bool {
	g := check.Good
	return r.Broken() > 0 && (g == nil || g.Broken() > 0 || !g.Began.After(r.Ended))
}

// Result is the end of a run.
type Result struct {
	// Failed is the reason why the job did not do its work; empty: it did.
	Failed string `json:"failed,omitempty"`
	// Damaged: the reason is damage of the storage.
	Damaged bool `json:"damaged,omitempty"`
	// Interrupted: it was told to stop, or ended without a word.
	Interrupted bool `json:"interrupted,omitempty"`
	// Check has the findings of a check, or the damage that another job met, as a part.
	Check *Checked `json:"check,omitempty"`
}

// Extent is the part of a storage that a check looks at.
type Extent string

// Extents of a check.
const (
	Whole    Extent = "whole"    // all of HOME
	Snapshot Extent = "snapshot" // config and A, of a running storage, with everything flushed
	Part     Extent = "part"     // the transactions later than Since
)

// Checked describes the findings of a check.
type Checked struct {
	Extent Extent   `json:"extent"`
	Since  zodb.TID `json:"since,omitzero"`
	// Complete: it came to the end of its extent.
	Complete bool     `json:"complete"`
	LastTID  zodb.TID `json:"last_tid"`
	Files    int64    `json:"files"` // that were read
	Damage   int64    `json:"damage"`
	// Dangling are those of Damage about references to objects that do not exist.
	Dangling int64 `json:"dangling"`
	Warnings int64 `json:"warnings"`
	// First are the first findings of damage.
	First []string `json:"first,omitempty"`
}

// Broken is the number of findings of damage but dangling references. A FileStorage may bring those along:
// backups have them, too, and no repair of files ends them.
func (c *Checked) Broken() int64 { return c.Damage - c.Dangling }

// everything reports whether the check came to all of the storage.
func (c *Checked) everything() bool { return c.Complete && c.Extent != Part }

// State is a record, and whether the run that began is under way.
type State struct {
	Job Job
	Record
	// Running: a process works on the run that began. Otherwise, if there is one, it was interrupted.
	Running bool
	// Damaged is why the record cannot be used; it counts as none.
	Damaged error
}

// Interrupted reports whether a run began, and ended without a word.
func (s *State) Interrupted() bool { return s.Begun != nil && !s.Running }

// Read reads the record of a job. That there is none, or that it is of a storage with another
// identity, is no error; an empty identity fits every record.
func Read(f vfs.FS, dir string, job Job, identity string) (State, error) {
	s, err := look(f, dir, job, identity)
	for err == nil && s.Interrupted() {
		again, aerr := look(f, dir, job, identity)
		same := again.Interrupted() && again.Begun.Time.Equal(s.Begun.Time) && again.Begun.PID == s.Begun.PID
		if s, err = again, aerr; same {
			break
		}
		// It ended between the looks at its record and at its lock.
	}
	return s, err
}

func look(f vfs.FS, dir string, job Job, identity string) (State, error) {
	s := State{Job: job}
	r, err := read(f, dir, job)
	if damaged, ok := errors.AsType[*damagedError](err); ok {
		s.Damaged = damaged
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if identity != "" && r.Identity != "" && r.Identity != identity {
		return s, nil
	}
	s.Record = r
	if r.Begun != nil {
		s.Running, err = held(f, lockFile(dir, job))
	}
	return s, err
}

// damagedError is about a record that is not in the form of one.
type damagedError struct {
	path string
	err  error
}

func (e *damagedError) Error() string { return fmt.Sprintf("%s: %v", e.path, e.err) }
func (e *damagedError) Unwrap() error { return e.err }

func file(dir string, job Job) string     { return path.Join(dir, string(job)) }
func lockFile(dir string, job Job) string { return path.Join(dir, string(job)+".lock") }

func read(f vfs.FS, dir string, job Job) (r Record, err error) {
	name := file(dir, job)
	info, err := f.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err == nil && info.Size > maxRecord {
		return Record{}, &damagedError{f.Path(name), fmt.Errorf("it has %d bytes", info.Size)}
	}
	var b []byte
	if err == nil {
		b, err = f.ReadFile(name)
	}
	if err != nil {
		return Record{}, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, &damagedError{f.Path(name), err}
	}
	if r.Version < 1 {
		return Record{}, &damagedError{f.Path(name), errors.New("it has no version")}
	}
	return r, nil
}

// held reports whether a process holds the lock. If that cannot be seen, somebody may.
func held(f vfs.FS, name string) (bool, error) {
	if _, err := f.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	lock, err := vfs.LockToRead(f, name)
	switch {
	case errors.Is(err, vfs.ErrLocked), errors.Is(err, fs.ErrPermission):
		return true, nil
	case err != nil:
		return false, err
	}
	return false, lock.Close()
}

package runs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Options of [Begin]. FS, Dir, Job and Now are mandatory.
type Options struct {
	// FS is HOME or the repository, and Dir the directory of the records in it. Dir is made; that above
	// it has to be there.
	FS       vfs.FS
	Dir      string
	Job      Job
	Identity string // of the storage; empty: none is known
	Program  string // version of the program
	PID      int
	Now      func() time.Time
	// Pause is called while another process writes a record; nil: there is one attempt only.
	Pause func()
}

// Writer records one run.
type Writer struct {
	o     Options
	begun Beginning
	lock  vfs.Lock // nil: another run of this job is under way, or the beginning is not recorded
}

// Begin records that a run begins. The Writer can be used in any case: with an error, or if another
// run of the job is under way, this beginning is not recorded, and End records the end all the same.
func Begin(o Options) (*Writer, error) {
	w := &Writer{o: o, begun: Beginning{Time: o.Now(), PID: o.PID, Program: o.Program}}
	if err := w.makeDir(); err != nil {
		return w, err
	}
	_ = w.reserve() // a disk without room for it has none for the record either, which is told
	lock, err := w.take(lockFile(o.Dir, o.Job), triesOfRun)
	if errors.Is(err, vfs.ErrLocked) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	w.lock = lock
	err = w.change(o.Job, func(r *Record) {
		if r.Begun != nil {
			r.Last = &Run{Began: r.Begun.Time, Ended: r.Begun.Time, Program: r.Begun.Program, Result: Result{Failed: "it ended without a word", Interrupted: true}}
		}
		r.Begun = &w.begun
	})
	if err != nil { // then no lock may say that the run before is under way
		w.lock, err = nil, errors.Join(err, lock.Close())
	}
	return w, err
}

// End records the end of the run. Damage that a job of a HOME met is in the record of check, too, and
// there first.
func (w *Writer) End(result Result) error {
	err := w.makeDir()
	if c := result.Check; err == nil && c != nil && c.Damage > 0 && w.o.Job != Check && w.o.Job != Verify {
		err = w.change(Check, func(r *Record) { r.found(w.Found(result)) })
	}
	if err == nil {
		err = w.change(w.o.Job, func(r *Record) { w.end(r, result) })
	}
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
		w.lock = nil
	}
	return err
}

// run is the run, as End records it.
func (w *Writer) run(result Result) *Run {
	return &Run{Began: w.begun.Time, Ended: w.o.Now(), Program: w.o.Program, Result: result}
}

// Found is a run that found damage, as End records it for check.
func (w *Writer) Found(result Result) *Run {
	run := w.run(result)
	if w.o.Job != Check {
		run.Job = w.o.Job
	}
	return run
}

// found adds damage. A part does not hide the rest.
func (r *Record) found(damage *Run) {
	if r.Damage == nil || r.Damage.Check == nil || damage.Check.everything() || r.Damage.Broken() == 0 && damage.Broken() > 0 {
		r.Damage = damage
	}
}

func (w *Writer) end(r *Record, result Result) {
	run := w.run(result)
	if w.lock != nil { // else it is the beginning of another one
		r.Begun = nil
	}
	r.Last = run
	c := result.Check
	if w.o.Job != Check { // its damage is in the record of check
		c = nil
	}
	if result.Failed == "" && (c == nil || c.everything()) {
		r.Good = run
	}
	switch {
	case c == nil:
	case c.Damage > 0:
		r.found(run)
	case c.Damage == 0 && result.Failed == "" && c.everything() && !w.beside(r.Damage):
		r.Damage = nil
	}
}

// beside reports whether another run ended while this one was under way: its findings may be about files
// that this one had passed before. An end in the future is one by a clock that was wrong.
func (w *Writer) beside(other *Run) bool {
	return other != nil && w.begun.Time.Before(other.Ended) && !other.Ended.After(w.o.Now())
}

// makeDir makes the directory of the records.
func (w *Writer) makeDir() error {
	err := w.o.FS.Mkdir(w.o.Dir)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = w.o.FS.SyncDir(path.Dir(w.o.Dir))
	}
	return err
}

// How often a lock is tried: that of the run under way, which readers hold for a moment, and that of
// the writers, which each of them holds for the time of an fsync.
const (
	triesOfRun   = 5
	triesToWrite = 1000
)

// take takes a lock.
func (w *Writer) take(name string, tries int) (lock vfs.Lock, err error) {
	for range tries {
		if lock, err = w.o.FS.Lock(name); !errors.Is(err, vfs.ErrLocked) || w.o.Pause == nil {
			break
		}
		w.o.Pause()
	}
	return lock, err
}

// change reads the record of a job, changes it, and replaces it. One that is damaged, or of another storage,
// counts as none.
func (w *Writer) change(job Job, do func(*Record)) (err error) {
	lock, err := w.take(path.Join(w.o.Dir, "lock"), triesToWrite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	r, err := read(w.o.FS, w.o.Dir, job)
	if _, damaged := errors.AsType[*damagedError](err); damaged || err == nil && r.Identity != "" && w.o.Identity != "" && r.Identity != w.o.Identity {
		r, err = Record{}, nil
	}
	if err != nil {
		return err
	}
	r.Version, r.Identity = version, w.o.Identity
	do(&r)
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := file(w.o.Dir, job)
	write := func() error {
		return vfs.WriteFileAtomic(w.o.FS, name+".new", name, append(b, '\n'), vfs.SyncOptions{File: true, Dir: true})
	}
	if err = write(); vfs.FaultOf(err) == vfs.FullFault && r.Damage != nil && w.o.FS.Remove(reserveIn(w.o.Dir)) == nil {
		err = write()
	}
	return err
}

// reserveSize is the room for the records of two jobs, with their first findings.
const reserveSize = 64 << 10

func reserveIn(dir string) string { return path.Join(dir, "reserve") }

// Reserve makes the file that gives its room to a record of damage on a full disk, with the directory of
// the records, unless it is there. Without room there is none.
func Reserve(f vfs.FS, dir string) error {
	w := &Writer{o: Options{FS: f, Dir: dir}}
	if err := w.makeDir(); err != nil {
		return err
	}
	return w.reserve()
}

// Reserved reports whether the file of [Reserve] is there.
func Reserved(f vfs.FS, dir string) bool {
	info, err := f.Stat(reserveIn(dir))
	return err == nil && info.Size >= reserveSize
}

func (w *Writer) reserve() error {
	name := reserveIn(w.o.Dir)
	if Reserved(w.o.FS, w.o.Dir) {
		return nil
	}
	f, err := vfs.CreateAnew(w.o.FS, name)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Allocate(reserveSize), f.Close()); err != nil {
		return errors.Join(err, w.o.FS.Remove(name))
	}
	return nil
}

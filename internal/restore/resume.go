package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/archive"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// stateFile says, in a HOME that is being restored, how far it is.
const stateFile = "misc/restore.json"

// state is the content of stateFile.
type state struct {
	Chain []string `json:"chain"` // the plan: backups with the SHA-256 of their archives
	To    zodb.TID `json:"to"`
	Cut   bool     `json:"cut"`
	// Format is that of the HOME that is made of the restored one; "": none is.
	Format layout.Format `json:"format,omitempty"`
	// Backup is the index in Chain of the one that is being unpacked, At the place
	// in its tar up to which everything is durable.
	Backup int   `json:"backup"`
	At     int64 `json:"at"`
	// Before is the sum of what was read of its archive up to there. It tells whether a restore that
	// goes on proves by the sum of the archive what this one has unpacked.
	Before archive.Sum `json:"before,omitzero"`
	// Restored: the HOME of the backups is whole and checked; one of another format is made of it.
	Restored bool `json:"restored,omitempty"`
	// Done: the HOME is whole; only its name is missing. TID is its last transaction then.
	Done bool     `json:"done"`
	TID  zodb.TID `json:"tid,omitempty"`
	// Closed is the time of misc/snapshot then.
	Closed time.Time `json:"closed,omitzero"`
	// Replaces: the old copy may be at replacedSuffix.
	Replaces bool `json:"replaces,omitempty"`
}

func (s state) samePlan(o state) bool {
	return slices.Equal(s.Chain, o.Chain) && s.To == o.To && s.Cut == o.Cut && s.Format == o.Format
}

func readState(home vfs.FS) (s state, err error) {
	b, err := home.ReadFile(stateFile)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

// resumeOrBegin makes the directory in which the HOME grows, or finds how far an
// interrupted restore of the same plan has come.
func (r *run) resumeOrBegin() error {
	p := r.o.Parent
	if err := r.discardWhole(); err != nil {
		return err
	}
	if _, err := p.Stat(r.work); err == nil {
		s, err := readState(r.home)
		if err == nil && s.samePlan(r.state) && !r.o.Delta {
			r.state, r.result.Resumed = s, true
			return nil
		}
		if err == nil || r.unborn() {
			if err := r.discard(); err != nil {
				return err
			}
		} else {
			return fmt.Errorf("%s is in the way, and no restore made it: move it away", p.Path(r.work))
		}
	}
	if err := p.Mkdir(r.work); err != nil {
		return err
	}
	if r.old != nil { // which root may keep in a directory of its own
		if err := vfs.SameOwner(p, r.work, r.o.Name); err != nil {
			return errors.Join(err, r.discard())
		}
	}
	for _, dir := range append([]string{"config"}, parts()...) {
		if err := r.home.Mkdir(dir); err != nil {
			return errors.Join(err, r.discard())
		}
	}
	err := r.home.SyncDir(".") // the state says that they are there
	if err == nil {
		err = r.save()
	}
	if err != nil {
		return errors.Join(err, r.discard())
	}
	return p.SyncDir(path.Dir(r.work))
}

// unborn reports whether a directory holds nothing but the files that a restore makes
// before it writes its state, or the aside file of that.
func (r *run) unborn() bool {
	for name, err := range vfs.Walk(r.home, ".") {
		if err != nil || name != stateAside {
			return false
		}
	}
	return true
}

const stateAside = "misc/restore.json.new"

// save makes the state durable, after everything else is.
func (r *run) save() error {
	b, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(r.home, stateAside, stateFile, append(b, '\n'), vfs.SyncOptions{File: true, Dir: true})
}

// discard removes the directory in which the HOME grew, the state last: the remains of an
// interrupted discard are known to be ours.
func (r *run) discard() error {
	return removeHome(r.o.Parent, r.work)
}

func removeHome(p vfs.FS, name string) error {
	err := removeBut(p, name, "misc")
	if err == nil {
		err = removeBut(p, path.Join(name, "misc"), path.Base(stateFile))
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = vfs.RemoveAll(p, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, p.SyncDir(path.Dir(name)))
}

// removeBut removes the content of a directory, one name excepted, durably.
func removeBut(f vfs.FS, dir, but string) error {
	var names []string
	for e, err := range f.List(dir) {
		if err != nil {
			return err
		}
		if e.Name != but {
			names = append(names, e.Name)
		}
	}
	for _, name := range names {
		if err := vfs.RemoveAll(f, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return f.SyncDir(dir)
}

package snapfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Names below HOME.
const (
	Name    = "misc/snapshot"
	Taken   = "misc/snapshot-taken"
	Sublock = "misc/sublock"
)

const (
	aside      = "journal/aside-snapshot"
	asideTaken = "journal/aside-snapshot-taken"
)

// Shutdown is the content of misc/snapshot after a clean close.
const Shutdown = "shutdown"

// userPrefix is before the code of a snapshot that somebody entered.
const userPrefix = "user/"

// User returns the content of misc/snapshot in the snapshot of that code.
func User(code string) string { return userPrefix + code }

// UserCode is the reverse of User; false if the storage was closed, or is in some
// other state.
func UserCode(content string) (string, bool) { return strings.CutPrefix(content, userPrefix) }

// Record describes a snapshot.
type Record struct {
	// Code is the content of misc/snapshot.
	Code string `json:"code"`
	// Moment is before the snapshot was asked for. Every file that enters A after the
	// snapshot has a later time of modification. It is never more precise than the
	// nanoseconds of the clock of the storage.
	Moment time.Time `json:"moment"`
	// TID is the last transaction in A; 0 = there is none.
	TID zodb.TID `json:"tid"`
}

// ErrNone is matched if A is not a snapshot: there is no misc/snapshot.
var ErrNone = errors.New("no snapshot: A is in use")

// ErrUnknown is matched if A is a snapshot, and nothing tells since when.
var ErrUnknown = errors.New("nothing tells when this snapshot was taken")

// Write says durably, as far as o asks for it, that A is a snapshot. When it
// returns an error, the caller has to call Remove.
func Write(f vfs.FS, r Record, o vfs.SyncOptions) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// The record first: a misc/snapshot that has its name is described.
	if err := vfs.WriteFileAtomic(f, asideTaken, Taken, append(b, '\n'), o); err != nil {
		return err
	}
	if err := removeIfThere(f, aside); err != nil {
		return err
	}
	created, err := vfs.Put(f, aside, []byte(r.Code), false)
	if err == nil {
		// The time before the sync, and before the name.
		err = f.SetModTime(aside, r.Moment)
	}
	if err == nil && o.File {
		err = syncFile(f, aside)
	}
	if err == nil {
		err = f.Rename(aside, Name)
	}
	if err != nil {
		if created {
			err = errors.Join(err, removeIfThere(f, aside))
		}
		return err
	}
	if o.Dir {
		return f.SyncDir("misc")
	}
	return nil
}

func removeIfThere(f vfs.FS, name string) error {
	if err := f.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncFile(f vfs.FS, name string) error {
	file, err := f.OpenWrite(name)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Remove takes the claim that A is a snapshot back, durably as far as o asks for
// it. It may be repeated. The record goes with it; that it can't be removed does
// no harm.
func Remove(f vfs.FS, o vfs.SyncOptions) error {
	err := removeIfThere(f, Name)
	if err == nil && o.Dir {
		err = f.SyncDir("misc")
	}
	if err == nil {
		_ = Close(f)
	}
	return err
}

// Close removes the record alone: a tool that has A as a snapshot keeps it, and no other tool
// learns of it any more.
func Close(f vfs.FS) error { return removeIfThere(f, Taken) }

// maxLag is how much coarser than nanoseconds the times of a file system may be.
const maxLag = 2 * time.Second

// Read returns the record of the snapshot in A. The error matches ErrNone if it is not
// one, and ErrUnknown if nothing tells since when; the code is there then. The answer stays true
// only while misc/sublock is held.
func Read(f vfs.FS) (Record, error) {
	content, err := f.ReadFile(Name)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, fmt.Errorf("%w: %s is not there", ErrNone, f.Path(Name))
	}
	if err != nil {
		return Record{}, err
	}
	unknown := Record{Code: string(content)}
	info, err := f.Stat(Name)
	if err != nil {
		return unknown, err
	}
	b, err := f.ReadFile(Taken)
	if errors.Is(err, fs.ErrNotExist) {
		return unknown, fmt.Errorf("%w: %s is not there", ErrUnknown, f.Path(Taken))
	}
	if err != nil {
		return unknown, err
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return unknown, fmt.Errorf("%w: %s: %w", ErrUnknown, f.Path(Taken), err)
	}
	if lag := r.Moment.Sub(info.ModTime); r.Code != unknown.Code || lag < 0 || lag >= maxLag {
		return unknown, fmt.Errorf("%w: %s is of another snapshot", ErrUnknown, f.Path(Taken))
	}
	return r, nil
}

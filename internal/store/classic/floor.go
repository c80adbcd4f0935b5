package classic

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// floorFile keeps the floor of time stamps over a restart: decimal nanoseconds
// since the epoch. Its own time is the floor, or a later one, see noteTimes.
const floorFile = "misc/floor"

// floorStep divides the floor. rsync takes two files of the same size for equal if their
// times are in the same second, and a pointer is always of the same size: so the second of a
// file that comes after a snapshot has to differ from those of all files before. FAT keeps
// even seconds, and is compared with --modify-window=1.
const floorStep = int64(2 * time.Second)

// floorAbove is how much later than all that is known a floor is that takes the place
// of one that is lost: more than a few snapshots within a second can have raised that.
const floorAbove = 10 * floorStep

// readFloor reads the floor. It reports whether there was one that is lost.
func (t *Store) readFloor() (lost bool, err error) {
	floor, lost, err := ReadFloor(t.fs)
	if err != nil || floor.IsZero() {
		return lost, err
	}
	if !lost {
		t.floor.Store(floor.UnixNano())
	}
	// A pack that was killed may have put something that bears the floor itself, or a later time.
	info, err := t.fs.Stat(floorFile)
	if err != nil {
		return lost, err
	}
	t.noted = info.ModTime.UnixNano()
	t.sawTime(max(floor.UnixNano(), t.noted))
	return lost, nil
}

// noteTimes makes the time of floorFile a later pair of seconds than the times of all files that were put. An
// [Edit] calls it before its files have their names: unlike a flush it is not repeated with the same files after
// a kill, and no mark follows it at once. If the clock is set back before the next process begins, that has
// to know of times ahead of the clock, or a later file could bear one of them again.
func (t *Store) noteTimes() error {
	t.raising.Lock()
	defer t.raising.Unlock()
	newest := t.newest.Load()
	if newest < t.noted {
		return nil
	}
	at := (newest/floorStep + 1) * floorStep
	if err := noteTime(t.fs, time.Unix(0, at), vfs.SyncOptions{File: t.o.Sync, Dir: t.o.DirSync}); err != nil {
		return err
	}
	t.noted = at
	return nil
}

// NoteTime notes, durably, the latest time of files that a program without a store puts into A, or is about to
// put. See [ReadFloor].
func NoteTime(f vfs.FS, latest time.Time) error {
	at := time.Unix(0, (latest.UnixNano()/floorStep+1)*floorStep)
	// A copy of A and config has neither of these directories.
	for _, dir := range []string{"journal", "misc"} {
		if err := f.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// Who made them, or noted this time, may have been killed before that was durable.
	if err := f.SyncDir("."); err != nil {
		return err
	}
	info, err := f.Stat(floorFile)
	if err == nil && info.ModTime.After(at) {
		at = info.ModTime
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := noteTime(f, at, vfs.SyncOptions{File: true, Dir: true}); err != nil {
		return err
	}
	return f.SyncDir("misc")
}

// noteTime sets the time of floorFile, which is made if it is not there: no snapshot was ever asked for.
func noteTime(f vfs.FS, at time.Time, o vfs.SyncOptions) error {
	err := f.SetModTime(floorFile, at)
	if errors.Is(err, fs.ErrNotExist) {
		err = writeFloor(f, 0, at, o)
	} else if err == nil && o.File {
		err = syncTimes(f, floorFile)
	}
	if err != nil {
		return fmt.Errorf("keep the times of files: %w", err)
	}
	return nil
}

// writeFloor writes floorFile, which bears a time.
func writeFloor(f vfs.FS, floor int64, bears time.Time, o vfs.SyncOptions) error {
	data := append(strconv.AppendInt(nil, floor, 10), '\n')
	err := vfs.PutAside(f, asideFloorFile, data, vfs.PutOptions{Sync: o.File, Stamp: func() time.Time { return bears }})
	if err != nil {
		return err
	}
	if err := f.Rename(asideFloorFile, floorFile); err != nil {
		return errors.Join(err, f.Remove(asideFloorFile))
	}
	if o.Dir {
		return f.SyncDir("misc")
	}
	return nil
}

// ReadFloor returns the floor of time stamps of a HOME, which no file that is put there may be
// before; the zero time: there is none. It is for programs that put files there by themselves.
//
// It reports whether the content is lost: a power cut on a file system without a journal left
// floorFile full of zeros. Then the time is that of the file, which bears the floor.
func ReadFloor(f vfs.FS) (floor time.Time, lost bool, err error) {
	b, err := f.ReadFile(floorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, err
	}
	// Without its line feed it is not whole.
	digits, whole := strings.CutSuffix(string(b), "\n")
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil && whole && n >= 0 {
		return time.Unix(0, n), false, nil
	}
	info, err := f.Stat(floorFile)
	return info.ModTime, true, err
}

// findFloor makes a floor in the place of one that is lost. It is no earlier than that
// was: a floor is raised to some seconds after the clock or the newest file.
func (t *Store) findFloor() {
	latest := max(t.o.Clock().UnixNano(), t.newest.Load())
	floor := latest/floorStep*floorStep + floorAbove
	t.floor.Store(floor)
	t.sawTime(floor)
	t.floorLost = true
}

// FloorLost reports whether misc/floor held nothing that could be understood. Another
// floor was found; [Store.RaiseFloor] writes it down with the next snapshot.
func (t *Store) FloorLost() bool { return t.floorLost }

// RaiseFloor makes every file that is put into A or B from now on bear a time stamp of a
// later pair of seconds than the moment, than now, and than all that were put before, even
// if the clock is stepped back. So such a time may lie in the future: by one step for each
// snapshot that had anything new, less the time that has passed since. It is durable when
// it returns. It is called when all of a snapshot is in A, with the moment at which the
// snapshot was asked for.
func (t *Store) RaiseFloor(moment time.Time) (floor time.Time, err error) {
	t.raising.Lock()
	defer t.raising.Unlock()
	latest := max(moment.UnixNano(), t.o.Clock().UnixNano(), t.newest.Load())
	if at := t.floor.Load(); at > latest {
		return time.Unix(0, at), nil // nothing was put here since it was raised
	}
	at := (latest/floorStep + 1) * floorStep
	floor = time.Unix(0, at)
	o := vfs.SyncOptions{File: t.o.Sync, Dir: t.o.DirSync}
	if err := writeFloor(t.fs, at, floor, o); err != nil { // it bears the floor: see ReadFloor
		return time.Time{}, fmt.Errorf("keep the time of the snapshot: %w", err)
	}
	t.floor.Store(at)
	t.noted = at
	return floor, nil
}

// stamp returns the time that a file has to bear that is put now. It is called when the
// file is written, and before it has its name, if it is not created in place. The time that
// the file system gave it does not do: that may have another clock, as a network file
// system's has.
func (t *Store) stamp() time.Time {
	at := max(t.o.Clock().UnixNano(), t.floor.Load())
	t.sawTime(at)
	return time.Unix(0, at)
}

// restamp is stamp for a file that was written earlier.
func (t *Store) restamp(name string) error { return t.fs.SetModTime(name, t.stamp()) }

// sawTime notes the time stamp of a file in A or B.
func (t *Store) sawTime(ns int64) {
	for old := t.newest.Load(); ns > old; old = t.newest.Load() {
		if t.newest.CompareAndSwap(old, ns) {
			return
		}
	}
}

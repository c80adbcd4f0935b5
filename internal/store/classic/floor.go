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

// stampSlack is more than the kernel's clock for time stamps can lag behind
// the precise one.
const stampSlack = 50 * time.Millisecond

// floorFile keeps the floor of time stamps over a restart: decimal nanoseconds
// since the epoch.
const floorFile = "misc/floor"

// floorStep divides the floor. rsync takes two files of the same
// size for equal if their times are in the same second, and a pointer is always
// of the same size: so the second of a file that comes after a snapshot has to differ
// from those of all files before.
const floorStep = int64(time.Second)

// floorAbove is how much later than all that is known a floor is that takes the place
// of one that is lost: more than a few snapshots within a second can have raised that.
const floorAbove = 10 * floorStep

// readFloor reads the floor. It reports whether there was one that is lost: a power cut
// on a file system without a journal left floorFile full of zeros.
func (t *Store) readFloor() (lost bool, err error) {
	b, err := t.fs.ReadFile(floorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// Without its line feed it is not whole.
	digits, whole := strings.CutSuffix(string(b), "\n")
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil && whole && n >= 0 {
		t.floor.Store(n)
		// A pack that was killed may have put something that bears the floor itself.
		t.sawTime(n)
		return false, nil
	}
	info, err := t.fs.Stat(floorFile)
	if err != nil {
		return true, err
	}
	t.sawTime(info.ModTime.UnixNano()) // it bears the floor
	return true, nil
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

// RaiseFloor makes every file that is put into A or B from now on bear a time
// stamp of a later second than now, and than all that were put before, even if the clock
// is stepped back. So such a time may lie some seconds in the future: one for each
// snapshot that was entered within a second. It is durable when it returns. It is called
// when a snapshot is asked for, before anything else is done for it, and again when all
// of it is in A.
func (t *Store) RaiseFloor() error {
	latest := max(t.o.Clock().UnixNano(), t.newest.Load())
	if t.floor.Load() > latest {
		return nil // nothing was put here since it was raised
	}
	floor := (latest/floorStep + 1) * floorStep
	write := func() error {
		data := strconv.AppendInt(nil, floor, 10)
		err := vfs.WriteFileAtomic(t.fs, asideFloorFile, floorFile, append(data, '\n'), vfs.SyncOptions{File: t.o.Sync, Dir: t.o.DirSync})
		if err != nil {
			return err
		}
		return t.fs.SetModTime(floorFile, time.Unix(0, floor))
	}
	if err := write(); err != nil {
		return fmt.Errorf("keep the time of the snapshot: %w", err)
	}
	// A file system that keeps whole seconds would round the stamps down, to before
	// the floor: then the floor itself is rounded up, to a time that every file system
	// keeps.
	info, err := t.fs.Stat(floorFile)
	if err != nil {
		return fmt.Errorf("keep the time of the snapshot: %w", err)
	}
	if info.ModTime.UnixNano() < floor {
		const coarsest = int64(2 * time.Second)
		floor = (floor + coarsest - 1) / coarsest * coarsest
		if err := write(); err != nil {
			return fmt.Errorf("keep the time of the snapshot: %w", err)
		}
	}
	t.floor.Store(floor)
	return nil
}

// stamp begins to write a file. Its result is called when the file is written, and
// returns the time that the file has to bear: the floor, if the clock may have been
// behind it at or since now; the zero time if that of the clock is good.
func (t *Store) stamp() func() time.Time {
	begun := t.o.Clock()
	return func() time.Time {
		now := t.o.Clock()
		latest, floor := max(begun.UnixNano(), now.UnixNano()), t.floor.Load()
		if floor == 0 || min(begun.UnixNano(), now.UnixNano())-int64(stampSlack) > floor {
			t.sawTime(latest)
			return time.Time{}
		}
		t.sawTime(max(latest, floor))
		return time.Unix(0, max(now.UnixNano(), floor))
	}
}

// restamp gives a file that was written earlier the time of now, or the floor. It is
// called before the file gets its name in A or B.
func (t *Store) restamp(name string) error {
	at := max(t.o.Clock().UnixNano(), t.floor.Load())
	t.sawTime(at)
	return t.fs.SetModTime(name, time.Unix(0, at))
}

// sawTime notes the time stamp of a file in A or B.
func (t *Store) sawTime(ns int64) {
	for old := t.newest.Load(); ns > old; old = t.newest.Load() {
		if t.newest.CompareAndSwap(old, ns) {
			return
		}
	}
}

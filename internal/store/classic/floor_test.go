package classic_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/faulttest"
)

// TestFloorThatIsLostIsFound: misc/floor is full of zeros after a power cut, and the
// clock is behind. Files put then are later than those put before, and than the floor
// was.
func TestFloorThatIsLostIsFound(t *testing.T) {
	t.Parallel()
	for _, content := range [][]byte{nil, bytes.Repeat([]byte{0}, 20), []byte("17"), []byte("-5\n"), []byte("179572"), []byte("half a numb")} {
		tr, f, offset := newTree(t, layout.Bushy)
		for range 3 { // snapshots within a second
			if err := raiseFloor(tr); err != nil {
				t.Fatal(err)
			}
			put(t, tr, store.A, layout.Pointer(1), "before__")
			put(t, tr, store.A, layout.XSerial, "any____1")
		}
		if err := raiseFloor(tr); err != nil {
			t.Fatal(err)
		}
		old, was := modTime(t, tr, layout.Pointer(1)), tr.Floor()
		info, err := f.Stat(classic.FloorFile)
		if err == nil {
			err = vfs.WriteFileAtomic(f, classic.AsideFloorFile, classic.FloorFile, content, vfs.SyncOptions{})
		}
		if err = errors.Join(err, f.SetModTime(classic.FloorFile, info.ModTime)); err != nil {
			t.Fatal(err)
		}
		offset.Store(int64(-time.Hour))
		again, err := tr.Again()
		if err != nil {
			t.Errorf("%q: %v", content, err)
			continue
		}
		if !again.FloorLost() {
			t.Errorf("%q is taken for a floor", content)
		}
		put(t, again, store.A, layout.Pointer(1), "after___")
		if got := modTime(t, again, layout.Pointer(1)); got.UnixNano() < was || !got.After(old) {
			t.Errorf("%q: a file bears %v, that before it %v, and the floor was %v", content, got, old, time.Unix(0, was))
		}
		if err := raiseFloor(again); err != nil {
			t.Fatal(err)
		}
		if third, err := tr.Again(); err != nil || third.FloorLost() || third.Floor() != again.Floor() {
			t.Errorf("%q: the next open has the floor %d, want %d, %v", content, third.Floor(), again.Floor(), err)
		}
	}
}

// TestFloorIsAboveTheMarkOfAPackAfterARestart: a pack puts x.packed later than the last flush put
// x.serial. The process is killed, and the clock is set back.
func TestFloorIsAboveTheMarkOfAPackAfterARestart(t *testing.T) {
	t.Parallel()
	tr, _, offset := newTree(t, layout.Bushy)
	put(t, tr, store.A, layout.XSerial, "any____1")
	offset.Store(int64(time.Hour))
	if err := tr.SetMark(store.A, layout.XPacked, []byte("packed__")); err != nil {
		t.Fatal(err)
	}
	offset.Store(0)
	again, err := tr.Again()
	if err == nil {
		err = raiseFloor(again)
	}
	if packed := modTime(t, tr, layout.XPacked); err != nil || again.Floor()/1e9 <= packed.Unix() {
		t.Errorf("the floor is %v, and x.packed bears %v: %v", time.Unix(0, again.Floor()), packed, err)
	}
}

// TestFloorIsAboveTheFilesOfAKilledPack: a pack puts files while the clock is ahead. The process is killed before
// x.packed follows, and the clock is set back. There was a snapshot before, or none.
func TestFloorIsAboveTheFilesOfAKilledPack(t *testing.T) {
	t.Parallel()
	for _, snapshot := range []bool{true, false} {
		tr, _, offset := newTree(t, layout.Bushy)
		n := layout.Transaction(1 << 40)
		put(t, tr, store.A, n, "any")
		put(t, tr, store.A, layout.XSerial, "any____1")
		if snapshot {
			if err := raiseFloor(tr); err != nil {
				t.Fatal(err)
			}
		}
		offset.Store(int64(time.Hour))
		e := tr.NewEdit(store.A)
		if err := errors.Join(e.Replace(n, []byte("new")), e.Sync()); err != nil {
			t.Fatal(err)
		}
		offset.Store(0)
		again, err := tr.Again()
		if err != nil {
			t.Fatal(err)
		}
		if at, before := again.Floor(), time.Now().Add(time.Minute).UnixNano(); at > before {
			t.Errorf("new files bear %v at once", time.Unix(0, at))
		}
		err = raiseFloor(again)
		if edited := modTime(t, tr, n); err != nil || again.Floor()/1e9 <= edited.Unix() {
			t.Errorf("the floor is %v, and a file of the pack bears %v: %v", time.Unix(0, again.Floor()), edited, err)
		}
	}
}

// TestFloorIsAboveTheFilesOfAProgramWithoutAStore: it has noted their time, in a HOME that may be a copy of A
// and config alone.
func TestFloorIsAboveTheFilesOfAProgramWithoutAStore(t *testing.T) {
	t.Parallel()
	for _, bare := range []bool{true, false} {
		tr, f, _ := newTree(t, layout.Bushy)
		if bare {
			if err := errors.Join(f.Remove("journal"), f.Remove("misc")); err != nil {
				t.Fatal(err)
			}
		} else if err := raiseFloor(tr); err != nil {
			t.Fatal(err)
		}
		latest := time.Now().Add(time.Hour)
		for _, at := range []time.Time{latest, latest.Add(-time.Minute)} { // an earlier one changes nothing
			if err := classic.NoteTime(f, at); err != nil {
				t.Fatal(err)
			}
		}
		again, err := tr.Again()
		if err == nil {
			err = raiseFloor(again)
		}
		if err != nil || again.Floor()/1e9 <= latest.Unix() {
			t.Errorf("the floor is %v, and a file bears %v: %v", time.Unix(0, again.Floor()), latest, err)
		}
	}
}

// TestANotedTimeIsDurable: a program was killed at each operation before it noted the time again, and then the
// power is cut. The HOME may be a copy of A and config alone.
func TestANotedTimeIsDurable(t *testing.T) {
	t.Parallel()
	latest := time.Now().Add(time.Hour)
	for _, dirs := range [][]string{{"A"}, {"A", "misc"}, {"A", "journal", "misc"}} {
		for _, floor := range []bool{false, true} {
			if floor && len(dirs) < 3 {
				continue
			}
			begin := func(disk *crashfs.FS) (*faulttest.Job, error) {
				var errs []error
				for _, d := range dirs {
					errs = append(errs, disk.Mkdir(d))
				}
				if floor {
					errs = append(errs, classic.NoteTime(disk, latest.Add(-time.Hour)))
				}
				return &faulttest.Job{
					Run: func(f vfs.FS) error { return classic.NoteTime(f, latest) },
					Check: func(after *crashfs.FS, done bool) error {
						if !done {
							return nil
						}
						info, err := after.Stat(classic.FloorFile)
						if err == nil && !info.ModTime.After(latest) {
							err = fmt.Errorf("misc/floor bears %v", info.ModTime)
						}
						return err
					},
				}, errors.Join(append(errs, disk.SyncAll())...)
			}
			faulttest.Killed(t, faulttest.Options{Every: 1}, begin)
		}
	}
}

// TestTheFileOfTheFloorBearsIt: whenever the power is cut, so that a floor whose content is lost can be found.
func TestTheFileOfTheFloorBearsIt(t *testing.T) {
	t.Parallel()
	ops := faulttest.Sampled(t, 1, 0, func(at faulttest.Nth, n int) (log []string, came bool) {
		disk := crashfs.New(int64(n))
		for _, d := range []string{"A", "A/x", "B", "journal", "misc"} {
			if err := disk.Mkdir(d); err != nil {
				t.Fatal(err)
			}
		}
		tr := openTree(t, disk)
		err := errors.Join(raiseFloor(tr), disk.SyncAll())
		first := tr.Floor()
		if err == nil {
			err = tr.SetMark(store.A, layout.XSerial, []byte("serial__"))
		}
		if err != nil {
			t.Fatal(err)
		}
		begun, cut := disk.Ops(), faulttest.CutBefore(disk, at)
		if err := raiseFloor(tr); !cut.Load() && (err != nil || tr.Floor() <= first) {
			t.Errorf("the floor was %d, and is %d: %v", first, tr.Floor(), err)
		}
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(uint32(n))} {
			after := disk.Crashed(mode)
			floor, lost, err := classic.ReadFloor(after)
			info, serr := after.Stat(classic.FloorFile)
			if err = errors.Join(err, serr); err != nil || lost || floor.UnixNano() < first || info.ModTime.Before(floor) {
				t.Errorf("before %v, %s: the floor is %v, lost %t, and misc/floor bears %v: %v", at, mode, floor, lost, info.ModTime, err)
			}
		}
		return disk.Log()[begun:], cut.Load()
	})
	if ops < 4 {
		t.Errorf("%d operations", ops)
	}
}

// TestFloorRunsAheadByTwoSecondsASnapshot: snapshots in quick succession push the floor on by one step
// each, if there is anything new, and the clock makes it good.
func TestFloorRunsAheadByTwoSecondsASnapshot(t *testing.T) {
	t.Parallel()
	const step = 2 * time.Second
	disk := crashfs.New(1)
	for _, d := range []string{"A", "A/x", "B", "journal", "misc"} {
		if err := disk.Mkdir(d); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC)
	tr, err := classic.New(classic.Options{FS: disk, Format: layout.Bushy, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	raise := func(moment, want time.Time) {
		t.Helper()
		if at, err := tr.RaiseFloor(moment); err != nil || !at.Equal(want) || tr.Floor() != want.UnixNano() {
			t.Errorf("the floor is %v, want %v: %v", at, want, err)
		}
	}
	at := now.Add(time.Second) // of the next even second
	for range 5 {
		for range 3 {
			raise(now, at)
		}
		put(t, tr, store.A, layout.XSerial, "any____1")
		if got := modTime(t, tr, layout.XSerial); !got.Equal(at) {
			t.Errorf("a file bears %v, and the floor is %v", got, at)
		}
		at = at.Add(step)
	}
	now = now.Add(time.Minute)
	put(t, tr, store.A, layout.XSerial, "any____1")
	raise(now.Add(-time.Hour), now.Add(time.Second))
	// The clock was set back between the request for a snapshot and its beginning.
	put(t, tr, store.A, layout.XSerial, "any____1")
	asked := now.Add(time.Hour)
	raise(asked, asked.Add(time.Second))
}

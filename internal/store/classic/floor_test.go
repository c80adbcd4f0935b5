package classic_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/store/classic"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestFloorThatIsLostIsFound: misc/floor is full of zeros after a power cut, and the
// clock is behind. Files put then are later than those put before, and than the floor
// was.
func TestFloorThatIsLostIsFound(t *testing.T) {
	t.Parallel()
	for _, content := range [][]byte{nil, bytes.Repeat([]byte{0}, 20), []byte("17"), []byte("-5\n"), []byte("179572"), []byte("half a numb")} {
		tr, f, offset := newTree(t, layout.Bushy)
		for range 3 { // snapshots within a second
			if err := tr.RaiseFloor(); err != nil {
				t.Fatal(err)
			}
			put(t, tr, store.A, layout.Pointer(1), "before__")
			put(t, tr, store.A, layout.XSerial, "any____1")
		}
		if err := tr.RaiseFloor(); err != nil {
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
		if err := again.RaiseFloor(); err != nil {
			t.Fatal(err)
		}
		if third, err := tr.Again(); err != nil || third.FloorLost() || third.Floor() != again.Floor() {
			t.Errorf("%q: the next open has the floor %d, want %d, %v", content, third.Floor(), again.Floor(), err)
		}
	}
}

package classic_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

// TestBlobThatAPowerCutLeftInAIsNotBeforeTheFloor: a flush into A ends with a power
// cut, and the next one goes to B, because somebody needs A to stand still. Then
// nobody can set the time of the blob that is in A already.
func TestBlobThatAPowerCutLeftInAIsNotBeforeTheFloor(t *testing.T) {
	t.Parallel()
	const size = int64(len("a blob"))
	n := layout.Blob(5, 7)
	for _, files := range []int{1, 30} { // with fsync, and with syncfs
		for seed := range uint32(40) {
			tr, f, disk := newCrashTree(t)
			if err := vfs.PutAside(f, "journal/blob-1", []byte("a blob"), vfs.PutOptions{Sync: true}); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(f.SyncDir("journal"), raiseFloor(tr)); err != nil { // a snapshot is asked for
				t.Fatal(err)
			}
			b := tr.NewRedo(store.A, files)
			if err := b.Adopt(n, "journal/blob-1", size); err != nil {
				t.Fatal(err)
			}
			after := disk.Crashed(crashfs.Random(seed))
			tr = openTree(t, after)
			b = tr.NewRedo(store.B, files)
			if err := errors.Join(tr.SyncFound(), b.Adopt(n, "journal/blob-1", size), b.Sync()); err != nil {
				t.Fatal(err)
			}
			info, where, err := tr.FileInfo(n)
			if err != nil || info.ModTime.UnixNano() < tr.Floor() {
				t.Errorf("%d files, seed %d: %s bears %v, and the floor is %v (%v)", files, seed, where,
					info.ModTime.UTC(), time.Unix(0, tr.Floor()).UTC(), err)
				break
			}
		}
	}
}

// TestFilesOfTwoSnapshotsDifferInTheirSecondsOverARestart: rsync takes files of the
// same size and second for equal, so files changed between two snapshots have to be of
// another second, also if the process was started again, and while the clock is behind.
func TestFilesOfTwoSnapshotsDifferInTheirSecondsOverARestart(t *testing.T) {
	t.Parallel()
	tr, f, _ := newCrashTree(t)
	if err := tr.SetMark(store.A, layout.XSerial, []byte("serial__")); err != nil {
		t.Fatal(err)
	}
	n := layout.Transaction(1 << 40)
	times := make(map[int64]string)
	for i := range 3 {
		if err := raiseFloor(tr); err != nil { // a snapshot; the files there now are copied
			t.Fatal(err)
		}
		if info, _, err := tr.FileInfo(n); err == nil {
			second := info.ModTime.Unix()
			if before, ok := times[second]; ok {
				t.Errorf("the files of snapshots %s and %d are of the same second", before, i)
			}
			times[second] = fmt.Sprint(i)
		}
		e := tr.NewEdit(store.A) // a pack links the transaction anew
		if err := errors.Join(e.Replace(n, fmt.Appendf(nil, "link %d", i)), e.Sync()); err != nil {
			t.Fatal(err)
		}
		tr = openTree(t, f)
	}
}

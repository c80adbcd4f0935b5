package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/filestorage"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestImportLooksForRoomFirst: a blob that no disk has room for.
func TestImportLooksForRoomFirst(t *testing.T) {
	t.Parallel()
	source := hometest.FileStorage(t, "undo.fs")
	blobs, home := t.TempDir(), filepath.Join(t.TempDir(), "home")
	huge := filepath.Join(blobs, "huge.blob")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	space, err := vfs.OS(blobs)
	if err != nil {
		t.Fatal(err)
	}
	free, err := space.Space()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, int64(free.FreeBytes)+1<<30); err != nil {
		t.Skipf("no file can be that large here: %v", err)
	}
	run := func(args ...string) (status int, stderr string) {
		cmd := program(t, append([]string{"import", "--blobs", blobs, source, home}, args...)...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Run(); cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), errs.String()
	}
	status, stderr := run()
	if status != exitFailed || !strings.Contains(stderr, "not enough space on the disk: it needs about") || !strings.Contains(stderr, "--ignore-space") {
		t.Errorf("status %d, %s", status, stderr)
	}
	if _, err := os.Stat(home); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("HOME was made: %v", err)
	}
	if status, stderr := run("--ignore-space"); status != exitOK || !strings.Contains(stderr, "warning: import into") || !strings.Contains(stderr, "free space before it") {
		t.Errorf("with --ignore-space: status %d, %s", status, stderr)
	}
	// The imported part needs no more room; the blob would.
	if status, stderr := run(); status != exitFailed || !strings.Contains(stderr, "not enough space") {
		t.Errorf("once more: status %d, %s", status, stderr)
	}
	if err := os.Remove(huge); err != nil {
		t.Fatal(err)
	}
	if status, stderr := run(); status != exitOK {
		t.Errorf("without the blob: status %d, %s", status, stderr)
	}
}

// TestRoomIsAboutWhatAnImportTakesUp compares the estimate with the result, in files for each
// revision. That of bundles is below.
func TestRoomIsAboutWhatAnImportTakesUp(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"undo.fs", "before_pack.fs"} {
		source, home := hometest.FileStorage(t, name), filepath.Join(t.TempDir(), "home")
		if out, err := program(t, "import", "--format", "chunky", source, home).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		dir, base, err := vfs.Split(source)
		if err != nil {
			t.Fatal(err)
		}
		r, err := filestorage.Open(dir, base)
		if err != nil {
			t.Fatal(err)
		}
		room, err := transfer.RoomOfFile(t.Context(), r, nil)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		files := int64(0)
		err = filepath.WalkDir(filepath.Join(home, "A"), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files++
			}
			return err
		})
		if err != nil || room.Inodes > files || room.Inodes < files-5 || room.Bytes < room.Inodes*4096 {
			t.Errorf("%s: estimated %+v, there are %d files, %v", name, room, files, err)
		}
		if got := room.Check(vfs.Space{FreeBytes: uint64(room.Bytes), TotalInodes: 1 << 30, FreeInodes: uint64(room.Inodes)}); got != nil {
			t.Error(got)
		}
		err = room.Check(vfs.Space{FreeBytes: 1 << 60, TotalInodes: 1 << 30, FreeInodes: uint64(room.Inodes - 1)})
		if err == nil || !strings.Contains(err.Error(), "inodes") {
			t.Errorf("too few inodes: %v", err)
		}
	}
}

// TestRoomOfBundlesIsThatOfTheFile: a HOME of the format bundled is no larger than a Data.fs, so the
// estimate refuses nothing that has room, and not less, also when HOME is there already.
func TestRoomOfBundlesIsThatOfTheFile(t *testing.T) {
	t.Parallel()
	source, home := hometest.FileStorage(t, "before_pack.fs"), filepath.Join(t.TempDir(), "home")
	dir, base, err := vfs.Split(source)
	if err != nil {
		t.Fatal(err)
	}
	r, err := filestorage.Open(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	room, err := transfer.RoomOfFileInBundles(t.Context(), r, nil)
	if err != nil || room.Bytes != r.Size() || room.Inodes != 0 {
		t.Errorf("estimated %+v of %d bytes: %v", room, r.Size(), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		format, class string
		want          bool
	}{{"bundled", "Full", true}, {"chunky", "Full", false}, {"", "Full", true}, {"", "Minimal", false}} {
		if got := (&importCommand{home: home, format: tc.format, class: tc.class}).intoBundles(); got != tc.want {
			t.Errorf("a new HOME of format %q and class %s: into bundles is %t", tc.format, tc.class, got)
		}
	}
	want(t, exitOK, "imported", "import", "--format", "bundled", source, home)
	e, _, _ := testEnv()
	s, err := openReader(t.Context(), e, home)
	if err != nil {
		t.Fatal(err)
	}
	// A rest needs no less than it does because a classic HOME of as many revisions would be larger.
	if rest := room.Without(transfer.RoomOfCounts(s.Counts(), true)); rest.Bytes < -room.Bytes/2 || rest.Bytes > room.Bytes/2 || rest.Inodes != 0 {
		t.Errorf("with everything imported %+v of %+v are missing", rest, room)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !(&importCommand{home: home, format: "chunky"}).intoBundles() {
		t.Error("a HOME of format bundled is taken for one of chunky")
	}
	size := int64(0)
	err = filepath.WalkDir(filepath.Join(home, "A", "bundles"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			info, ierr := d.Info()
			if ierr != nil {
				return ierr
			}
			size += info.Size()
		}
		return err
	})
	if err != nil || size == 0 || size > room.Bytes {
		t.Errorf("%d bytes of bundles, estimated %d: %v", size, room.Bytes, err)
	}
}

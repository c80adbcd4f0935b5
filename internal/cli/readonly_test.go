//go:build linux

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// bindMount mounts a directory once more until the test ends, which is skipped where that is not
// allowed.
func bindMount(t *testing.T, dir, at string) {
	t.Helper()
	err := unix.Mount(dir, at, "", unix.MS_BIND, "")
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("not allowed to mount: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A program that another test is about to start has the files that are open here until its exec.
		var err error
		for range 200 {
			if err = unix.Unmount(at, 0); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(at, unix.MNT_DETACH)
		}
	})
}

// mountedReadOnly mounts a directory once more where nothing can be written; the test
// is skipped where that is not allowed.
func mountedReadOnly(t *testing.T, dir string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	bindMount(t, dir, at)
	if err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "x"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Fatalf("it can be written to: %v", err)
	}
	return at
}

// filledHome makes a HOME with an object, with or without a clean close.
func filledHome(t *testing.T, clean bool) string {
	t.Helper()
	home := enginetest.Home(t, engine.CreateOptions{})
	s := enginetest.Open(t, home, engine.Options{NoControlSocket: true, SegmentSize: 64 << 10})
	if !clean { // so that a close leaves the log
		if err := s.EnterSnapshot(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
	}
	enginetest.Commit(t, s, enginetest.Change{Data: anyRecord})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !clean {
		if err := os.Remove(filepath.Join(home, "misc/snapshot")); err != nil {
			t.Fatal(err)
		}
	}
	return home
}

// TestReadOnlyMount: a storage that was closed cleanly, or that crashed, on a file
// system where nothing can be written.
func TestReadOnlyMount(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean %t", clean), func(t *testing.T) {
			t.Parallel()
			home := filledHome(t, clean)
			before := hometest.Contents(t, home)
			at := mountedReadOnly(t, home)
			outside := t.TempDir()
			do := func(want int, text string, args ...string) {
				t.Helper()
				var out, errs bytes.Buffer
				e := &env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Getenv: func(string) string { return "" }, Mount: vfs.MountInfo}
				if code := run(t.Context(), e, args); code != want || !strings.Contains(out.String()+errs.String(), text) {
					t.Errorf("%q: status %d, want %d with %q\n%s%s", args, code, want, text, out.String(), errs.String())
				}
			}
			do(0, "1 object, 1 revision, 1 transaction", "check", at)
			do(0, "no record of this run is left for status: ", "check", at)
			if clean {
				do(exitProblem, "mounted with ro: nothing can be written", "status", at)
			} else {
				do(exitProblem, "the log has to be rolled forward", "status", at)
			}
			do(0, "exported 1 transaction", "export", at, filepath.Join(outside, "x.fs"))
			repo := filepath.Join(outside, "repo")
			if clean {
				do(0, "full backup", "backup", "full", at, repo)
				// It cannot be noted that the backup has all of the storage, so the next one is full, too.
				do(0, "misc/backed-up does not tell of backup ", "backup", "run", at, repo)
				do(0, "", "restore", repo, filepath.Join(outside, "again"))
				do(0, "", "snapshot", "run", at, "--", "true")
			} else {
				do(4, "cannot be rolled forward", "backup", "full", "--timeout=0", at, repo)
			}
			do(1, "serve it with --read-only", "serve", "--listen=127.0.0.1:0", at)

			s := startServe(t, "--read-only", "--listen=127.0.0.1:0", at)
			address := s.await(&s.log, `listening address=(\S+)`)
			c, err := zeoclient.Dial(t.Context(), zeoclient.Options{Address: address, Storage: "1", ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			rev, err := c.LoadBefore(context.Background(), 0, zodb.MaxTID)
			if err != nil || rev == nil || string(rev.Data) != string(anyRecord) {
				t.Errorf("got %+v, %v", rev, err)
			}
			c.Close()
			s.end()
			// With the original in another process: a reader sees that, too.
			if len(before) == 0 || !sameTree(before, hometest.Contents(t, home)) {
				t.Error("something was written")
			}
		})
	}
}

func sameTree(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }

// TestCheckOnAReadOnlyMountSeesWhoHasItOpen: the storage itself is not read-only elsewhere.
func TestCheckOnAReadOnlyMountSeesWhoHasItOpen(t *testing.T) {
	t.Parallel()
	home := filledHome(t, true)
	at := mountedReadOnly(t, home)
	f, err := vfs.OS(home)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := f.Lock("misc/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	mounted, err := vfs.OS(at)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := vfs.LockToRead(mounted, "misc/lock"); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("locked twice: %v, %v", l, err)
	}
	if l, err := vfs.LockToRead(mounted, "misc/nosuch"); err != nil || l.Check() != nil || l.Close() != nil {
		t.Errorf("a lock that cannot be made: %v", err)
	}
}

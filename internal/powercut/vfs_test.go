//go:build linux

package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// TestSyncOnRealFileSystems: data that internal/vfs calls durable survive a cut just
// after that, with nothing that the disk was not told to flush. It must run as root;
// DIRSTORAGE_ROUNDS=N makes it look at all file systems, N times as often.
func TestSyncOnRealFileSystems(t *testing.T) {
	if testing.Short() {
		t.Skip("it mounts file systems")
	}
	rounds, all := 30, false
	if n, err := strconv.Atoi(os.Getenv("DIRSTORAGE_ROUNDS")); err == nil && n > 0 {
		rounds, all = 30*n, true
	}
	for _, fs := range filesystems() {
		if !all && fs.name != "ext4-nojournal" {
			continue
		}
		for _, how := range []string{"SyncAll", "each by itself"} {
			all := how == "SyncAll"
			n := rounds
			if !all {
				n = rounds / 10 // they take long
			}
			t.Run(fs.name+"/"+how, func(t *testing.T) { syncAndCut(t, fs, n, all) })
		}
	}
}

// ownMounts gives the thread of a test, and its processes, mounts of its own. The
// thread ends with the test.
func ownMounts(t *testing.T, needs ...string) {
	t.Helper()
	for _, command := range needs {
		if _, err := exec.LookPath(command); err != nil {
			t.Skip(err)
		}
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		t.Skip("a test for root: ", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Skip("no mounts of its own: ", err)
	}
}

// testDevice returns a formatted disk, mounted nowhere.
func testDevice(t *testing.T, fs filesystem) *device {
	t.Helper()
	ownMounts(t, fs.mkfs[0], "losetup")
	dir, err := os.MkdirTemp("", "powercut") // t.TempDir would be removed while it is busy
	if err != nil {
		t.Fatal(err)
	}
	dev, err := newDevice(newDisk(200<<20, fs.unit), fs, dir)
	if err != nil {
		t.Skip("no FUSE: ", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(dev.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := dev.Format(); err != nil {
		t.Skip("no loop device: ", err)
	}
	dev.Save()
	return dev
}

func syncAndCut(t *testing.T, fs filesystem, rounds int, all bool) {
	dev := testDevice(t, fs)
	rnd := rand.New(rand.NewPCG(1, uint64(rounds)))
	files, lost := 0, 0
	for range rounds {
		dev.Reset()
		must(t, dev.Mount(false))
		home, err := vfs.OS(dev.mount)
		must(t, err)
		var names []string
		for n := range 1 + rnd.IntN(5) {
			more, err := syncedBatch(home, n, rnd, all)
			must(t, err)
			names = append(names, more...)
		}
		dev.Cut(cutNone, rnd, 0, 0, 0, func() {})
		must(t, dev.Unmount())
		dev.PowerOn()
		must(t, dev.Mount(true))
		for _, name := range names {
			files++
			if b, err := home.ReadFile(name); err != nil || string(b) != name {
				if lost++; lost == 1 {
					t.Errorf("%s was made durable and holds %q now, error %v", name, b, err)
				}
			}
		}
		must(t, dev.Unmount())
	}
	if lost > 0 {
		t.Errorf("%d of %d files were lost", lost, files)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// syncedBatch makes files in new directories, under other names first, and makes them
// durable: each by itself, or all at once. Each holds its own name.
func syncedBatch(f vfs.FS, n int, rnd *rand.Rand, all bool) (names []string, err error) {
	dirs := map[string]bool{".": true}
	for d := range 1 + rnd.IntN(5) {
		dir := fmt.Sprintf("new-%d/%d", n, d)
		made, err := vfs.MkdirAll(f, dir)
		if err != nil {
			return nil, err
		}
		for _, m := range made {
			dirs[m], dirs[path.Dir(m)] = true, true
		}
		for i := range 1 + rnd.IntN(20) {
			name := fmt.Sprintf("%s/a file that has a long name, so that a directory grows, %d", dir, i)
			if _, err := vfs.Put(f, dir+"/aside", []byte(name), !all); err != nil {
				return nil, err
			}
			if err := f.Rename(dir+"/aside", name); err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	if all {
		return names, f.SyncAll()
	}
	for dir := range dirs {
		err = errors.Join(err, f.SyncDir(dir))
	}
	return names, err
}

// TestNamesWithoutAJournal: files are removed and replaced, and others made, and nothing
// makes the names durable, but everything that the file system wrote by itself stays. Then
// each name leads to its file, the old or the new one, and to nothing else.
func TestNamesWithoutAJournal(t *testing.T) {
	if testing.Short() {
		t.Skip("it mounts file systems")
	}
	rounds := 8
	if n, err := strconv.Atoi(os.Getenv("DIRSTORAGE_ROUNDS")); err == nil && n > 0 {
		rounds *= n
	}
	for _, fs := range filesystems() {
		if fs.name == "ext4-nojournal" {
			t.Run(fs.name, func(t *testing.T) { changeAndCut(t, fs, rounds) })
		}
	}
}

func changeAndCut(t *testing.T, fs filesystem, rounds int) {
	dev := testDevice(t, fs)
	rnd := rand.New(rand.NewPCG(2, uint64(rounds)))
	for range rounds {
		dev.Reset()
		must(t, dev.Mount(false))
		home, err := vfs.OS(dev.mount)
		must(t, err)
		lock, err := home.Lock("lock")
		must(t, err)
		if !vfs.HoldBack(home, "aside-held-") {
			t.Fatal("the file system seems to have a journal")
		}
		may, err := churn(home, rnd)
		must(t, err)
		dev.Cut(cutAll, rnd, 0, 0, 0, func() {})
		must(t, lock.Close())
		must(t, dev.Unmount())
		dev.PowerOn()
		must(t, dev.Mount(true))
		found := make(map[string]bool)
		for name, err := range vfs.Walk(home, "old") {
			must(t, err)
			found[name] = true
			b, err := home.ReadFile(name)
			if want, ok := may[name]; err != nil || !ok || !slices.Contains(want, string(b)) {
				t.Errorf("%s holds %q, error %v; want one of %q", name, b, err, want)
			}
		}
		for name, want := range may {
			if !found[name] && !slices.Contains(want, "") {
				t.Errorf("%s is gone", name)
			}
		}
		must(t, dev.Unmount())
	}
}

// churn makes files that are durable, and changes them. It returns what may be found in
// each of them, and in each that it made: "" is no file, or one that nobody synced.
func churn(f vfs.FS, rnd *rand.Rand) (may map[string][]string, err error) {
	may = make(map[string][]string)
	var dirs []string
	for d := range 30 {
		dir := fmt.Sprintf("old/%d", d)
		if _, err := vfs.MkdirAll(f, dir); err != nil {
			return nil, err
		}
		dirs = append(dirs, dir)
		for i := range 4 {
			name := fmt.Sprintf("%s/%d", dir, i)
			if _, err := vfs.Put(f, name, []byte(name), true); err != nil {
				return nil, err
			}
			may[name] = []string{name}
		}
	}
	if err := f.SyncAll(); err != nil {
		return nil, err
	}
	for n := range 200 {
		dir := dirs[rnd.IntN(len(dirs))]
		name := fmt.Sprintf("%s/%d", dir, rnd.IntN(4))
		fresh := fmt.Sprintf("%s/new-%d", dir, n)
		text := fmt.Sprintf("%s as of %d", name, n)
		switch rnd.IntN(4) {
		case 0:
			err = f.Remove(name)
			may[name] = append(may[name], "")
		case 1: // a directory and its files
			if dir, name = fmt.Sprintf("old/more-%d", n%10), fmt.Sprintf("old/more-%d/x", n%10); f.Mkdir(dir) == nil {
				_, err = vfs.Put(f, name, []byte(name), true)
				may[name] = []string{name, ""}
			} else {
				err = errors.Join(f.Remove(name), f.Remove(dir))
			}
		case 2:
			_, err = vfs.Put(f, fresh, []byte(fresh), true)
			may[fresh] = []string{fresh, ""}
		case 3:
			err = vfs.WriteFileAtomic(f, "aside", name, []byte(text), vfs.SyncOptions{File: true})
			may[name] = append(may[name], text)
		}
		if err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return nil, err
		}
	}
	return may, nil
}

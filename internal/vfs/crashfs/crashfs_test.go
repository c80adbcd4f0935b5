package crashfs_test

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/vfstest"
)

func TestItIsAFileSystem(t *testing.T) {
	t.Parallel()
	vfstest.Run(t, func(*testing.T) vfs.FS { return crashfs.New(1) })
}

func put(t *testing.T, f vfs.FS, name, content string, sync bool) {
	t.Helper()
	file, err := f.Create(name)
	if err == nil {
		_, err = io.WriteString(file, content)
	}
	if err == nil && sync {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, f vfs.FS, name string) string {
	t.Helper()
	b, err := f.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOnlyWhatIsSyncedSurvivesTheWorstCrash(t *testing.T) {
	t.Parallel()
	f := crashfs.New(1)
	put(t, f, "both", "x", true)
	if err := f.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	put(t, f, "content only", "x", true)
	put(t, f, "neither", "x", false)
	if err := f.Remove("both"); err != nil {
		t.Fatal(err)
	}
	worst, best := f.Crashed(crashfs.KeepNone), f.Crashed(crashfs.KeepAll)
	for name, want := range map[string][2]string{
		"both": {"x", "none"}, "content only": {"none", "x"}, "neither": {"none", "x"},
	} {
		if got := [2]string{content(t, worst, name), content(t, best, name)}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestRenameReplacesAtOnceInEveryCrash looks for the states that a crash may leave of
// a file that is replaced: it must see old and new, and nothing else, if the
// content was synced first; and torn content, if not. The old name goes, or does not,
// whatever became of the new one.
func TestRenameReplacesAtOnceInEveryCrash(t *testing.T) {
	t.Parallel()
	for _, synced := range []bool{true, false} {
		f := crashfs.New(1)
		put(t, f, "a", "old", true)
		if err := f.SyncDir("."); err != nil {
			t.Fatal(err)
		}
		put(t, f, "aside", "new", synced)
		if err := f.Rename("aside", "a"); err != nil {
			t.Fatal(err)
		}
		seen, both, neither := make(map[string]bool), false, false
		for seed := range uint32(300) {
			after := f.Crashed(crashfs.Random(seed))
			is, aside := content(t, after, "a"), content(t, after, "aside")
			seen[is] = true
			both = both || is == "new" && aside != "none"
			neither = neither || is == "old" && aside == "none"
		}
		if !both || !neither {
			t.Errorf("synced %t: both names %t, neither %t, want to see each", synced, both, neither)
		}
		if !seen["old"] || !seen["new"] || synced != (len(seen) == 2) {
			t.Errorf("synced %t: states %v", synced, seen)
		}
	}
}

func TestAfterTheCrashNothingWorks(t *testing.T) {
	t.Parallel()
	f := crashfs.New(1)
	put(t, f, "a", "x", true)
	f.CrashAt(f.Ops() + 1)
	if _, err := f.Create("b"); !errors.Is(err, crashfs.ErrCrashed) {
		t.Errorf("create: %v", err)
	}
	if _, err := f.ReadFile("a"); !errors.Is(err, crashfs.ErrCrashed) {
		t.Errorf("read: %v", err)
	}
}

func TestPowerIsCutBeforeAnOperationThatIsDescribed(t *testing.T) {
	t.Parallel()
	f := crashfs.New(1)
	f.CrashBefore(func(op string) bool { return op == "mkdir b" })
	if err := f.Mkdir("a"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"b", "c"} {
		if err := f.Mkdir(dir); !errors.Is(err, crashfs.ErrCrashed) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if got := f.Log(); len(got) != 1 || got[0] != "mkdir a" {
		t.Errorf("%q", got)
	}
}

func TestDiskCanBeFull(t *testing.T) {
	t.Parallel()
	f := crashfs.New(1)
	put(t, f, "a", "x", true)
	f.SetSpace(f.Used() + 512)
	if _, err := f.Create("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create("c"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create: %v", err)
	}
	if err := f.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create("c"); err != nil {
		t.Errorf("after something was removed: %v", err)
	}
}

// TestSyncThatFailedIsNotMadeGoodByTheNext: the kernel takes pages for clean that it
// could not write.
func TestSyncThatFailedIsNotMadeGoodByTheNext(t *testing.T) {
	t.Parallel()
	for _, all := range []bool{false, true} {
		disk := crashfs.New(1)
		f := errfs.New(disk, nil)
		put(t, f, "a", "old", true)
		if err := f.SyncDir("."); err != nil {
			t.Fatal(err)
		}
		file, err := f.OpenWrite("a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		sync := file.Sync
		if all {
			sync = f.SyncAll
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}
		f.Decide(func(errfs.Op) error { return syscall.ENOSPC })
		if err := sync(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		f.Decide(nil)
		if err := sync(); err != nil {
			t.Errorf("all %t: the next sync: %v", all, err)
		}
		if got := content(t, disk.Killed(), "a"); got != "new" {
			t.Errorf("all %t: another process finds %q", all, got)
		}
		for _, mode := range []crashfs.Mode{crashfs.KeepNone, crashfs.KeepAll, crashfs.Random(1), crashfs.Random(2)} {
			if got := content(t, disk.Crashed(mode), "a"); got != "old" {
				t.Errorf("all %t: after a crash with %v: %q", all, mode, got)
			}
		}
		if !all {
			continue
		}
		again, err := f.Open("a")
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Sync(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("who syncs the file is told %v", err)
		}
		if err := again.Sync(); err != nil {
			t.Errorf("and then %v", err)
		}
	}
}

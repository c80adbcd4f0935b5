package doctor

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// mounted mounts something with the command mount, and skips the test where that is not possible.
func mounted(t *testing.T, args ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("mount %q: %v, %s", args, err, out)
	}
	t.Cleanup(func() {
		for range 200 { // a process that another test is starting has it open until its exec
			if err := unix.Unmount(dir, 0); !errors.Is(err, unix.EBUSY) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Error("it cannot be unmounted")
	})
	return dir
}

// onDisk makes a file system in an image and mounts it.
func onDisk(t *testing.T, megabytes int64, options string, mkfs ...string) (dir string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, megabytes<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Skipf("%q: %v, %s", mkfs, err, out)
	}
	return mounted(t, "-o", options, image)
}

// examineReal examines a directory of the machine.
func examineReal(t *testing.T, dir string, home *Home) *Report {
	t.Helper()
	f, err := vfs.OS(dir)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Options{FS: f, Home: home, Now: time.Now, Steady: func() time.Duration { return time.Since(begun) }, Mount: vfs.MountInfo,
		WithoutJournal: vfs.WithoutJournal, User: os.Geteuid(), LowSpace: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(after) != len(before) {
		t.Errorf("%d files before, %d after, %v", len(before), len(after), err)
	}
	return r
}

// ofMachine are the kinds that depend on the machine of the test.
var ofMachine = []string{"fsync-slow", "fsync-moderate", "fsync-instant", "clock-jumped", "clock-unsynchronised", "lock-not-tried", "mode-open"}

func TestRealFileSystems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		make func(t *testing.T) string
		want []string
	}{
		{"ext4", func(t *testing.T) string { return onDisk(t, 64, "loop,noatime", "mkfs.ext4", "-q", "-F") }, nil},
		{"xfs", func(t *testing.T) string { return onDisk(t, 320, "loop", "mkfs.xfs", "-q", "-f") }, nil},
		{"btrfs", func(t *testing.T) string { return onDisk(t, 160, "loop", "mkfs.btrfs", "-q", "-f") }, nil},
		{"ext4 without barriers", func(t *testing.T) string { return onDisk(t, 64, "loop,nobarrier", "mkfs.ext4", "-q", "-F") }, []string{"barriers-off"}},
		{"ext4, data=writeback", func(t *testing.T) string { return onDisk(t, 64, "loop,data=writeback", "mkfs.ext4", "-q", "-F") }, []string{"data-writeback"}},
		{"ext4 without a journal", func(t *testing.T) string {
			return onDisk(t, 64, "loop", "mkfs.ext4", "-q", "-F", "-O", "^has_journal")
		}, []string{"no-journal"}},
		{"ext4 with few inodes", func(t *testing.T) string {
			dir := onDisk(t, 64, "loop", "mkfs.ext4", "-q", "-F", "-N", "64")
			for i := range 64 {
				if os.WriteFile(filepath.Join(dir, strings.Repeat("x", i+1)), nil, 0o600) != nil {
					break
				}
			}
			for i := range 3 {
				if err := os.Remove(filepath.Join(dir, strings.Repeat("x", i+1))); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}, []string{"inodes-low", "space-none"}},
		{"a full ext4", func(t *testing.T) string {
			dir := onDisk(t, 16, "loop", "mkfs.ext4", "-q", "-F", "-m", "0")
			f, err := os.Create(filepath.Join(dir, "full"))
			for err == nil {
				_, err = f.Write(make([]byte, 64<<10))
			}
			for err = nil; err == nil; { // what is left of the last 64 KiB
				_, err = f.Write(make([]byte, 1<<10))
			}
			f.Close()
			return dir
		}, []string{"space-none"}},
		{"ext4 read-only", func(t *testing.T) string { return onDisk(t, 16, "loop,ro", "mkfs.ext4", "-q", "-F") }, []string{"read-only"}},
		{"ext2", func(t *testing.T) string { return onDisk(t, 16, "loop", "mkfs.ext2", "-q", "-F") }, []string{"file-system-untested", "no-journal"}},
		{"ext4 that folds case", func(t *testing.T) string {
			dir := filepath.Join(onDisk(t, 64, "loop", "mkfs.ext4", "-q", "-F", "-O", "casefold"), "folded")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("chattr", "+F", dir).CombinedOutput(); err != nil {
				t.Skip(err, string(out))
			}
			return dir
		}, []string{"names-case", "names-unicode"}},
		{"minix", func(t *testing.T) string { return onDisk(t, 16, "loop", "mkfs.minix") }, []string{"weak-file-system", "names-short", "times-coarse"}},
		{"tmpfs", func(t *testing.T) string { return mounted(t, "-t", "tmpfs", "-o", "size=16m", "none") }, []string{"memory-file-system"}},
		{"overlay", func(t *testing.T) string { return overlay(t, "") }, []string{"overlay-file-system"}},
		{"volatile overlay", func(t *testing.T) string { return overlay(t, ",volatile") }, []string{"overlay-file-system", "overlay-volatile"}},
		{"FUSE", func(t *testing.T) string {
			image := filepath.Join(t.TempDir(), "image")
			if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 32<<20)); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
				t.Skip(err, string(out))
			}
			dir := t.TempDir()
			if out, err := exec.Command("fuse2fs", image, dir).CombinedOutput(); err != nil {
				t.Skip(err, string(out))
			}
			t.Cleanup(func() {
				if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
					t.Error(err, string(out))
				}
			})
			return dir
		}, []string{"fuse-file-system"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := examineReal(t, tc.make(t), nil)
			got := slices.DeleteFunc(r.kindsOf(), func(kind string) bool { return slices.Contains(ofMachine, kind) })
			slices.Sort(got)
			want := slices.Clone(tc.want)
			slices.Sort(want)
			if tc.name == "FUSE" { // its renames are seen to be not atomic, by chance
				got = slices.DeleteFunc(got, func(kind string) bool { return kind == "rename-not-atomic" || kind == "exchange-missing" })
			}
			if !slices.Equal(got, want) {
				t.Errorf("found %q, want %q: %+v", got, want, r.Findings)
			}
		})
	}
}

// overlay mounts one whose layers are on a tmpfs.
func overlay(t *testing.T, options string) string {
	t.Helper()
	on := mounted(t, "-t", "tmpfs", "-o", "size=16m", "none")
	for _, dir := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(on, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return mounted(t, "-t", "overlay", "-o", "lowerdir="+on+"/lower,upperdir="+on+"/upper,workdir="+on+"/work"+options, "overlay")
}

// TestSpreadHome: a part of HOME is on another mount.
func TestSpreadHome(t *testing.T) {
	t.Parallel()
	home, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{"A", "config"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(home, "A")
	if err := unix.Mount(other, at, "", unix.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r := examineReal(t, home, &Home{Settings: settings.Default(settings.ClassFull, layout.Bundled)})
	if r.Findings[0].Grade != Fault || !slices.Contains(r.kindsOf(), "spread") || !strings.HasPrefix(r.Findings[0].Seen, "A: ") {
		t.Errorf("%+v", r.Findings)
	}
}

// TestForeignFilesOfAHome: root has left files there, and another command a directory beside it.
func TestForeignFilesOfAHome(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	home := filepath.Join(t.TempDir(), "home")
	for _, dir := range []string{home, filepath.Join(home, "A"), filepath.Join(home, "misc"), home + ".restoring"} {
		if err := errors.Join(os.Mkdir(dir, 0o750), os.Chown(dir, 500, 500)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "misc", "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := examineReal(t, home, &Home{Settings: settings.Default(settings.ClassFull, layout.Bundled)})
	for kind, seen := range map[string]string{"owner-foreign": home + "/misc/lock", "leftover": home + ".restoring"} {
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Kind == kind })
		if i < 0 || !strings.Contains(r.Findings[i].Seen, seen) {
			t.Errorf("%s: %+v", kind, r.Findings)
		}
	}
	if i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Kind == "owner-foreign" }); i >= 0 && r.Findings[i].Do != "as root: chown -R --reference=HOME HOME" {
		t.Errorf("%q", r.Findings[i].Do)
	}
}

// TestDirectoryMovedAsideIsNoLeftover: an old HOME has the name that restore --delta gives one. After a restore that
// was killed it is named.
func TestDirectoryMovedAsideIsNoLeftover(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	for _, dir := range []string{home, filepath.Join(home, "A"), filepath.Join(home, "misc"), home + ".replaced"} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for _, killed := range []bool{false, true} {
		if killed {
			if err := os.WriteFile(filepath.Join(home, "misc", "restore.json"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := examineReal(t, home, &Home{Settings: settings.Default(settings.ClassFull, layout.Bundled)})
		if got := slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.Seen, ".replaced") }); got != killed {
			t.Errorf("killed %t: %+v", killed, r.Findings)
		}
	}
}

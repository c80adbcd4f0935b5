package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine/space"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// place is a disk that keeps all promises, with functions that may break them.
type place struct {
	vfs.FS
	disk    *crashfs.FS
	elapsed atomic.Int64 // nanoseconds

	rename  func(from, to string) error
	lock    func(name string) (vfs.Lock, error)
	stat    func(name string) (vfs.Info, error)
	create  func(name string) error // an error instead
	listed  func(name string) string
	sync    func() time.Duration // latency of a sync
	link    func(from, to string) error
	owner   func(name string) (int, int, error)
	space   func() vfs.Space
	modTime func(t time.Time) time.Time // that is kept
	read    func(err error)             // after a read
}

var start = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func (p *place) steady() time.Duration { return time.Duration(p.elapsed.Load()) }
func (p *place) now() time.Time        { return start.Add(p.steady()) }

func (p *place) Rename(from, to string) error {
	if p.rename != nil {
		return p.rename(from, to)
	}
	return p.FS.Rename(from, to)
}

func (p *place) Lock(name string) (vfs.Lock, error) {
	if p.lock != nil {
		return p.lock(name)
	}
	return p.FS.Lock(name)
}

func (p *place) Stat(name string) (vfs.Info, error) {
	if p.stat != nil {
		return p.stat(name)
	}
	return p.FS.Stat(name)
}

func (p *place) Link(from, to string) error {
	if p.link != nil {
		return p.link(from, to)
	}
	return p.FS.Link(from, to)
}

func (p *place) ReadFile(name string) ([]byte, error) {
	b, err := p.FS.ReadFile(name)
	if p.read != nil {
		p.read(err)
	}
	return b, err
}

func (p *place) Create(name string) (vfs.File, error) {
	if p.create != nil {
		if err := p.create(name); err != nil {
			return nil, err
		}
	}
	f, err := p.FS.Create(name)
	return &slowFile{f, p}, err
}

func (p *place) List(dir string) iter.Seq2[vfs.Entry, error] {
	return func(yield func(vfs.Entry, error) bool) {
		for e, err := range p.FS.List(dir) {
			if p.listed != nil {
				e.Name = p.listed(e.Name)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (p *place) SetModTime(name string, t time.Time) error {
	if p.modTime != nil {
		t = p.modTime(t)
	}
	return p.FS.SetModTime(name, t)
}

func (p *place) Space() (vfs.Space, error) {
	if p.space != nil {
		return p.space(), nil
	}
	return p.FS.Space()
}

func (p *place) Owner(name string) (uid, gid int, err error) {
	if _, err := p.FS.Stat(name); err != nil {
		return 0, 0, err
	}
	if p.owner == nil {
		return 500, 500, nil
	}
	return p.owner(name)
}

type slowFile struct {
	vfs.File
	p *place
}

func (f *slowFile) Sync() error {
	f.p.elapsed.Add(int64(f.p.sync()))
	return f.File.Sync()
}

// examined is one examination, whose place and options may be changed before it.
type examined struct {
	*place
	o Options
}

// failing makes operations of some kind fail.
func (x *examined) failing(err error, kinds ...string) {
	x.FS = errfs.New(x.FS, func(op errfs.Op) error {
		if slices.Contains(kinds, op.Kind) {
			return err
		}
		return nil
	})
}

func (x *examined) put(t *testing.T, name string) {
	t.Helper()
	if _, err := vfs.MkdirAll(x.disk, path.Dir(name)); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Put(x.disk, name, []byte("x"), false); err != nil {
		t.Fatal(err)
	}
}

// mountedAs makes the mount another one.
func (x *examined) mountedAs(kind string, options ...string) {
	x.o.Mount = func(string) (vfs.Mount, bool) {
		return vfs.Mount{Point: "/mnt", Type: kind, Source: "source", Options: append([]string{"rw", "noatime"}, options...)}, true
	}
}

func newExamined(t *testing.T) *examined {
	t.Helper()
	disk := crashfs.New(1)
	p := &place{FS: disk, disk: disk, sync: func() time.Duration { return time.Millisecond }}
	disk.SetClock(p.now)
	set := settings.Default(settings.ClassFull, layout.Bundled)
	x := &examined{place: p, o: Options{
		Home: &Home{Settings: set, LastTID: zodb.TIDFromTime(start.Add(-time.Hour)), Running: true, Sized: true, Copy: transfer.Room{Bytes: 1 << 20, Inodes: 1000}},
		Now:  p.now, Steady: p.steady, Synchronised: func() (bool, bool) { return true, true }, User: 500, LowSpace: 1 << 20,
		WithoutJournal: func(string) bool { return false },
		TryLock:        func(context.Context, string) (bool, error) { return false, nil },
		Limits:         Limits{Files: 65536, Connections: 1000, Memory: budget.Memory{Limit: 1 << 30, Source: "the machine"}, User: 500, PID: 77},
	}}
	x.mountedAs("ext4")
	p.space = func() vfs.Space {
		return vfs.Space{FreeBytes: 50 << 30, TotalBytes: 100 << 30, FreeInodes: 5_000_000, TotalInodes: 10_000_000}
	}
	x.put(t, space.ReserveFile)
	x.put(t, "A/x.serial")
	x.put(t, "config/settings")
	return x
}

func (x *examined) run(t *testing.T) *Report {
	t.Helper()
	x.o.FS = x.place
	before := slices.Sorted(names(t, x.disk, "."))
	r, err := Run(t.Context(), x.o)
	if err != nil {
		t.Fatal(err)
	}
	if after := slices.Sorted(names(t, x.disk, ".")); !slices.Equal(before, after) {
		t.Errorf("left behind: %q, before it was %q", after, before)
	}
	return r
}

func names(t *testing.T, f vfs.FS, dir string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e, err := range f.List(dir) {
			if err != nil {
				t.Error(err)
			}
			if !yield(e.Name) {
				return
			}
		}
	}
}

func (r *Report) kindsOf() (list []string) {
	for _, f := range r.Findings {
		if f.Grade != OK {
			list = append(list, f.Kind)
		}
	}
	return list
}

// cases make the one finding that they are named for, and no other one.
var cases = map[string]func(t *testing.T, x *examined){
	"version-newer": func(_ *testing.T, x *examined) {
		x.o.Home = &Home{Err: &layout.NewerError{Path: "config/settings", Kind: "HOME", Version: "0.12", Known: "0.11"}}
	},
	"settings-unreadable": func(_ *testing.T, x *examined) { x.o.Home = &Home{Err: errors.New("line 1: no section")} },
	"home-unreadable":     func(_ *testing.T, x *examined) { x.o.Home.Err, x.o.Home.Running = zodb.ErrJournalOlder, false },
	"home-silent":         func(_ *testing.T, x *examined) { x.o.Home.Err = &control.SilentError{Home: "home", For: time.Second} },
	"sync-off":            func(_ *testing.T, x *examined) { x.o.Home.Settings.Filesystem.Sync = false },
	"directory-sync-off":  func(_ *testing.T, x *examined) { x.o.Home.Settings.POSIX.DirSync = false },

	"network-file-system":  func(_ *testing.T, x *examined) { x.mountedAs("cifs") },
	"nfs-local-locks":      func(_ *testing.T, x *examined) { x.mountedAs("nfs4", "local_lock=all") },
	"nfs-soft":             func(_ *testing.T, x *examined) { x.mountedAs("nfs4", "soft") },
	"nfs-async":            func(_ *testing.T, x *examined) { x.mountedAs("nfs", "async") },
	"barriers-off":         func(_ *testing.T, x *examined) { x.mountedAs("ext4", "nobarrier") },
	"data-writeback":       func(_ *testing.T, x *examined) { x.mountedAs("ext4", "data=writeback") },
	"no-journal":           func(_ *testing.T, x *examined) { x.o.WithoutJournal = func(string) bool { return true } },
	"memory-file-system":   func(_ *testing.T, x *examined) { x.mountedAs("tmpfs") },
	"overlay-file-system":  func(_ *testing.T, x *examined) { x.mountedAs("overlay") },
	"overlay-volatile":     func(_ *testing.T, x *examined) { x.mountedAs("overlay", "volatile") },
	"fuse-file-system":     func(_ *testing.T, x *examined) { x.mountedAs("fuse.bindfs") },
	"weak-file-system":     func(_ *testing.T, x *examined) { x.mountedAs("vfat") },
	"file-system-untested": func(_ *testing.T, x *examined) { x.mountedAs("zfs") },
	"read-only":            func(_ *testing.T, x *examined) { x.failing(syscall.EROFS, "mkdir") },
	"not-writable":         func(_ *testing.T, x *examined) { x.failing(syscall.EACCES, "mkdir") },
	"not-tried":            func(_ *testing.T, x *examined) { x.failing(syscall.EMFILE, "create") },

	"rename-failed": func(_ *testing.T, x *examined) {
		x.rename = func(string, string) error { return syscall.EIO }
	},
	"rename-not-atomic": func(_ *testing.T, x *examined) {
		// The new name is gone until a reader has seen it.
		missed := make(chan struct{}, 1)
		x.read = func(err error) {
			if err != nil {
				missed <- struct{}{}
			}
		}
		x.rename = func(from, to string) error {
			if err := x.FS.Remove(to); err != nil {
				return err
			}
			<-missed
			x.rename = x.FS.Rename // the reader has ended
			return x.FS.Rename(from, to)
		}
	},
	"fsync-failed":   func(_ *testing.T, x *examined) { x.failing(syscall.EIO, "sync") },
	"fsync-slow":     func(_ *testing.T, x *examined) { x.sync = func() time.Duration { return 60 * time.Millisecond } },
	"fsync-moderate": func(_ *testing.T, x *examined) { x.sync = func() time.Duration { return 12 * time.Millisecond } },
	"fsync-instant":  func(_ *testing.T, x *examined) { x.sync = func() time.Duration { return time.Microsecond } },
	"directory-fsync-failed": func(_ *testing.T, x *examined) {
		x.failing(syscall.EINVAL, "syncdir")
	},
	"lock-failed": func(_ *testing.T, x *examined) { x.failing(syscall.ENOLCK, "lock") },
	"lock-not-exclusive": func(_ *testing.T, x *examined) {
		x.lock = func(name string) (vfs.Lock, error) { return sharedLock{}, x.touch(name) }
	},
	"lock-not-tried": func(_ *testing.T, x *examined) { x.o.TryLock = nil },
	"exchange-missing": func(_ *testing.T, x *examined) {
		x.failing(vfs.ErrNotSupported, "exchange")
	},
	"links-missing": func(_ *testing.T, x *examined) { x.failing(syscall.EPERM, "link") },
	"names-changed": func(_ *testing.T, x *examined) { x.listed = strings.ToLower },
	"names-short": func(_ *testing.T, x *examined) {
		x.create = func(name string) error {
			if len(path.Base(name)) > 100 {
				return syscall.ENAMETOOLONG
			}
			return nil
		}
	},
	"names-case": func(_ *testing.T, x *examined) {
		x.stat = func(name string) (vfs.Info, error) { return x.FS.Stat(strings.Replace(name, lowerCase, mixedCase, 1)) }
	},
	"names-unicode": func(_ *testing.T, x *examined) {
		x.stat = func(name string) (vfs.Info, error) { return x.FS.Stat(strings.Replace(name, apart, composed, 1)) }
	},
	"times-refused": func(_ *testing.T, x *examined) { x.failing(syscall.EPERM, "touch") },
	"times-coarse": func(_ *testing.T, x *examined) {
		x.modTime = func(t time.Time) time.Time { return t.Truncate(2 * time.Second) }
	},
	"times-clock": func(_ *testing.T, x *examined) {
		x.disk.SetClock(func() time.Time { return x.now().Add(-time.Minute) })
	},
	"clock-behind": func(_ *testing.T, x *examined) { x.o.Home.LastTID = zodb.TIDFromTime(start.Add(time.Hour)) },
	"clock-jumped": func(_ *testing.T, x *examined) {
		calls := 0
		x.o.Now = func() time.Time {
			if calls++; calls > 1 {
				return x.now().Add(time.Second)
			}
			return x.now()
		}
	},
	"clock-unsynchronised": func(_ *testing.T, x *examined) { x.o.Synchronised = func() (bool, bool) { return false, true } },

	"space-none":    func(_ *testing.T, x *examined) { x.failing(syscall.ENOSPC, "create") },
	"space-low":     func(_ *testing.T, x *examined) { x.free(1<<20-1, 1000) },
	"space-pack":    func(_ *testing.T, x *examined) { x.free(200<<20, 1000); x.o.Home.Largest = 190 << 20 },
	"space-copy":    func(_ *testing.T, x *examined) { x.free(1<<30, 1000); x.o.Home.Copy.Bytes = 2 << 30 },
	"space-unknown": func(_ *testing.T, x *examined) { x.place.space = func() vfs.Space { return vfs.Space{} } },
	"inodes-low":    func(_ *testing.T, x *examined) { x.free(1<<30, 100) },
	"inodes-copy":   func(_ *testing.T, x *examined) { x.o.Home.Copy.Inodes = 5_000_001 },
	"reserve-none": func(t *testing.T, x *examined) {
		if err := x.disk.Remove(space.ReserveFile); err != nil {
			t.Fatal(err)
		}
	},
	"descriptors-few":         func(_ *testing.T, x *examined) { x.o.Limits.Files = 1023 },
	"descriptors-connections": func(_ *testing.T, x *examined) { x.o.Limits.Files = 1024 },
	"memory-small":            func(_ *testing.T, x *examined) { x.o.Limits.Memory.Limit = 64<<20 - 1 },

	"owner-foreign": func(_ *testing.T, x *examined) {
		x.owner = func(name string) (int, int, error) {
			if name == "A/x.serial" {
				return 0, 0, nil
			}
			return 500, 500, nil
		}
	},
	"owner-server": func(_ *testing.T, x *examined) { x.o.Limits.User = 33 },
	"owner-other":  func(_ *testing.T, x *examined) { x.o.User = 1000 },
	"mode-open": func(_ *testing.T, x *examined) {
		x.stat = func(name string) (vfs.Info, error) {
			info, err := x.FS.Stat(name)
			info.Mode |= 0o755
			return info, err
		}
	},
	"leftover":        func(t *testing.T, x *examined) { x.put(t, "misc/refs.new") },
	"leftover-pack":   func(t *testing.T, x *examined) { x.put(t, "misc/pack"); x.o.Home.Running = false },
	"leftover-bundle": func(t *testing.T, x *examined) { x.put(t, "misc/damaged/x") },
	"snapshot-left":   func(_ *testing.T, x *examined) { x.o.Home.Snapshot, x.o.Home.Running = "user/x", false },
}

// Some kinds come together with another one.
var company = map[string][]string{
	"nfs-local-locks": {"network-file-system"}, "nfs-soft": {"network-file-system"}, "nfs-async": {"network-file-system"},
	"overlay-volatile": {"overlay-file-system"}, "times-clock": nil,
}

// elsewhere are the kinds that another test makes, because they need a real file system.
var elsewhere = map[string]string{"spread": "TestSpreadHome"}

func (x *examined) free(bytes, inodes uint64) {
	x.place.space = func() vfs.Space {
		return vfs.Space{FreeBytes: bytes, TotalBytes: 100 << 30, FreeInodes: inodes, TotalInodes: 9000}
	}
}

// touch makes a file that does not exist yet.
func (p *place) touch(name string) error {
	f, err := p.FS.Create(name)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return errors.Join(err, f.Close())
}

type sharedLock struct{}

func (sharedLock) Check() error { return nil }
func (sharedLock) Close() error { return nil }

func TestAGoodPlaceHasNoFindings(t *testing.T) {
	t.Parallel()
	for _, quick := range []bool{false, true} {
		x := newExamined(t)
		x.o.Quick = quick
		r := x.run(t)
		if r.Grade != OK || len(r.Findings) < 4 || r.Version != "0.11" || r.Format != "bundled" || !r.Storage || r.Broken() != nil {
			t.Errorf("quick %t: %+v", quick, r)
		}
		checks := make(map[string]bool)
		for _, f := range r.Findings {
			checks[f.Check] = true
		}
		for _, k := range kinds {
			if !quick && !checks[k.check] && k.check != "trials" {
				t.Errorf("check %s says nothing", k.check)
			}
		}
	}
}

func TestEachKindIsFoundAndNoOther(t *testing.T) {
	t.Parallel()
	for kind := range kinds {
		if cases[kind] == nil && elsewhere[kind] == "" {
			t.Errorf("no case makes %s", kind)
		}
	}
	for kind, prepare := range cases {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			x := newExamined(t)
			prepare(t, x)
			r := x.run(t)
			want := append([]string{kind}, company[kind]...)
			slices.Sort(want)
			got := r.kindsOf()
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("found %q, want %q: %+v", got, want, r.Findings)
			}
			if r.Grade == OK || r.Findings[0].Grade != r.Grade {
				t.Errorf("the worst finding is not the first one: %s, %+v", r.Grade, r.Findings[0])
			}
			i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Kind == kind })
			if f := r.Findings[i]; f.Seen == "" || f.Means == "" || f.Do == "" || strings.Contains(f.Seen, "%!") || strings.Contains(f.Seen, "<nil>") {
				t.Errorf("%+v", f)
			}
			if f := r.Findings[i]; kind == "mode-open" && !strings.HasPrefix(f.Seen, "its mode is drwx") {
				t.Errorf("the mode of a directory is %q", f.Seen)
			}
			if (r.Broken() != nil) != broken[kind] {
				t.Errorf("broken: %v", r.Broken())
			}
		})
	}
}

// TestBrokenPromisesAreFoundQuickly: in the quick part, each plainly broken promise is found, too; and
// nothing else keeps a server from starting.
func TestBrokenPromisesAreFoundQuickly(t *testing.T) {
	t.Parallel()
	for kind := range broken {
		if kind == "names-changed" {
			continue // which takes a listing
		}
		x := newExamined(t)
		x.o.Quick = true
		if kind == "rename-not-atomic" { // seen without a reader
			x.rename = func(from, to string) error { return errors.Join(x.FS.Remove(to), x.FS.Link(from, to)) }
		} else {
			cases[kind](t, x)
		}
		if err := x.run(t).Broken(); err == nil || strings.Count(err.Error(), "; ") == 0 {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for kind := range maps.Keys(cases) {
		if !broken[kind] {
			x := newExamined(t)
			x.o.Quick = true
			cases[kind](t, x)
			if err := x.run(t).Broken(); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}

// TestKilledDoctorLeavesNothingForLong: a run is killed before each operation; the next one removes the
// leftovers.
func TestKilledDoctorLeavesNothingForLong(t *testing.T) {
	t.Parallel()
	whole := newExamined(t)
	before := whole.disk.Ops()
	whole.run(t)
	ops := whole.disk.Ops()
	if ops-before < 50 {
		t.Fatalf("only %d operations", ops-before)
	}
	left := 0
	for n := before + 1; n <= ops; n += 1 + (ops-before)/60 {
		x := newExamined(t)
		x.disk.CrashAt(n)
		x.o.FS = x.place
		if _, err := Run(t.Context(), x.o); err == nil {
			t.Fatalf("operation %d did not fail", n)
		}
		x.disk = x.disk.Killed()
		x.FS = x.disk
		x.disk.SetClock(x.now)
		if _, err := x.disk.Stat(layout.ProbeDir); err == nil {
			left++
		}
		x.o.FS = x.place
		if _, err := Run(t.Context(), x.o); err != nil {
			t.Fatalf("after a kill before operation %d: %v", n, err)
		}
		if _, err := x.disk.Stat(layout.ProbeDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after a kill before operation %d: %v", n, err)
		}
	}
	if left == 0 {
		t.Error("no kill left anything")
	}
}

func TestASecondDoctorIsTold(t *testing.T) {
	t.Parallel()
	x := newExamined(t)
	x.put(t, in("other"))
	held, err := x.disk.Lock(lockName)
	if err != nil {
		t.Fatal(err)
	}
	x.o.FS = x.place
	if _, err := Run(t.Context(), x.o); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	if _, err := x.disk.Stat(in("other")); err != nil {
		t.Error("it removed the files of the other one")
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), x.o); err != nil {
		t.Error(err)
	}
}

func TestInterruptedDoctorRemovesItsFiles(t *testing.T) {
	t.Parallel()
	x := newExamined(t)
	ctx, cancel := context.WithCancel(t.Context())
	x.link = func(from, to string) error { cancel(); return x.FS.Link(from, to) }
	x.o.FS = x.place
	if _, err := Run(ctx, x.o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := x.disk.Stat(layout.ProbeDir); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestLimitsOfARunningServer(t *testing.T) {
	t.Parallel()
	disk := crashfs.New(1)
	p := &place{FS: disk, disk: disk, owner: func(string) (int, int, error) { return 33, 33, nil }}
	for name, text := range map[string]string{
		"proc/77/limits":                "Limit                     Soft Limit           Hard Limit           Units\nMax open files            1000                 4096                 files\n",
		"proc/77/cgroup":                "0::/zodb\n",
		"proc/meminfo":                  "MemTotal: 4194304 kB\n",
		"sys/fs/cgroup/zodb/memory.max": "536870912\n",
	} {
		if _, err := vfs.MkdirAll(disk, path.Dir(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := vfs.Put(disk, name, []byte(text), false); err != nil {
			t.Fatal(err)
		}
	}
	own := Limits{Files: 5, Connections: 6, User: -1}
	if got, want := LimitsOf(p, 77, own), (Limits{Files: 1000, Connections: 6, PID: 77, User: 33, Memory: budget.Memory{Limit: 448 << 20, Source: "the control group"}}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, pid := range []int{0, 78} {
		if got := LimitsOf(p, pid, own); got != own {
			t.Errorf("%d: %+v", pid, got)
		}
	}
}

// TestDocumentHasEachKind compares docs/doctor.md with the kinds.
func TestDocumentHasEachKind(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "doctor.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|.*$").FindAllStringSubmatch(string(text), -1) {
		rows[m[1]] = m[0]
	}
	for name, k := range kinds {
		does := ""
		if broken[name] {
			does = ", serve does not start"
		}
		want := fmt.Sprintf("| `%s` | %s%s | %s | %s |", name, k.grade, does, k.means, k.do)
		if rows[name] != want {
			t.Errorf("docs/doctor.md: want the row\n%s", want)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/doctor.md: there is no kind %s", name)
	}
}

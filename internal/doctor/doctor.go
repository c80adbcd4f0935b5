package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// Options of [Run]. FS, Now and Steady are mandatory; the zero value of the others leaves something out.
type Options struct {
	// FS is HOME, or an existing directory in which one will be made.
	FS vfs.FS
	// Missing is the place that was asked for, if it does not exist and FS is the directory above it.
	Missing string
	// Home describes the storage; nil: there is none yet.
	Home *Home
	// Quick is for the start of a server: a few small writes, and nothing that grows with HOME.
	Quick bool
	// Now is the clock of the system, Steady one that nobody sets.
	Now    func() time.Time
	Steady func() time.Duration
	// Synchronised reports whether a time server keeps the clock; known is false if the system does not
	// tell it.
	Synchronised func() (yes, known bool)
	// Mount describes the mount that holds a path, as vfs.MountInfo.
	Mount func(path string) (m vfs.Mount, known bool)
	// WithoutJournal reports whether a path is on ext4 without a journal.
	WithoutJournal func(path string) bool
	// TryLock has another process try a lock, and reports whether it got it.
	TryLock func(ctx context.Context, path string) (got bool, err error)
	// User is the user of this process.
	User int
	// Limits are those of the server: of the one that runs, or else of this process.
	Limits Limits
	// LowSpace is the setting of that name.
	LowSpace int64
}

// Limits of a process.
type Limits struct {
	Files       int64 // that it may have open; 0: not known
	Connections int   // that it is to accept
	Memory      budget.Memory
	PID         int // of a running server; 0: they are those of this process
	User        int // of that server; -1: not known
}

// Home are facts about a storage.
type Home struct {
	Settings *settings.Settings // nil: Err says why
	// Err is the error of reading it; nil: it can be opened.
	Err     error
	Running bool
	LastTID zodb.TID
	// Snapshot is the state of snapshot mode, as in a status.
	Snapshot string
	// Copy is the room of a copy, if Sized.
	Copy  transfer.Room
	Sized bool
	// Largest is the size of the largest bundle, of the format bundled.
	Largest int64
}

// Finding is one result.
type Finding struct {
	Check string `json:"check"`
	// Kind tells findings of a check apart; that of a good one is its check.
	Kind  string `json:"kind"`
	Grade Grade  `json:"grade"`
	Seen  string `json:"seen"`
	Means string `json:"means,omitempty"`
	Do    string `json:"do,omitempty"`
}

// Report is the result of [Run].
type Report struct {
	Path string `json:"path"`
	// Missing is the place that was asked for, and does not exist: Path is the directory above it.
	Missing string `json:"missing,omitempty"`
	// Storage: Path is a HOME.
	Storage bool `json:"storage"`
	// Version is structure/version of the HOME, Format its format; "": not known.
	Version string `json:"version,omitempty"`
	Format  string `json:"format,omitempty"`
	// Grade is the worst one.
	Grade    Grade     `json:"grade"`
	Findings []Finding `json:"findings"` // the worst ones first
}

// Count returns how many findings have a grade.
func (r *Report) Count(g Grade) (n int) {
	for _, f := range r.Findings {
		if f.Grade == g {
			n++
		}
	}
	return n
}

// Broken returns an error about the promises that a trial has shown not to hold; nil: there are none.
func (r *Report) Broken() error {
	var errs []error
	for _, f := range r.Findings {
		if broken[f.Kind] {
			errs = append(errs, fmt.Errorf("%s: %s: %s; %s", r.Path, f.Seen, f.Means, f.Do))
		}
	}
	return errors.Join(errs...)
}

// ErrBusy: another doctor is at work there.
var ErrBusy = errors.New("another doctor, or a server that starts, tries the same directory; run it again")

// examination is one run.
type examination struct {
	o     Options
	mount vfs.Mount
	known bool // mount is
	made  []string
	r     Report
}

// Run looks at a place. It returns an error only if it could not look: ErrBusy, or that of ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	x := &examination{o: o, r: Report{Path: o.FS.Path("."), Missing: o.Missing, Storage: o.Home != nil, Grade: OK}}
	if o.Mount != nil {
		x.mount, x.known = o.Mount(x.r.Path)
	}
	begun, steady := o.Now(), o.Steady()
	x.home()
	x.mounted()
	writable, err := x.try(ctx)
	if err != nil {
		return nil, err
	}
	x.owners(ctx, writable)
	if !o.Quick {
		x.space()
		x.limits()
		x.leftovers()
		x.clock(begun, steady)
	}
	slices.SortStableFunc(x.r.Findings, func(a, b Finding) int { return cmp.Compare(b.Grade.rank(), a.Grade.rank()) })
	return &x.r, ctx.Err()
}

// Place returns the faults of a place that show without a trial: of its mount, and that its disk is
// full. status tells them, too.
func Place(f vfs.FS, mount func(path string) (m vfs.Mount, known bool)) []Finding {
	x := &examination{o: Options{FS: f}, r: Report{Path: f.Path("."), Grade: OK}}
	if mount != nil {
		x.mount, x.known = mount(x.r.Path)
	}
	x.mounted()
	if sp, err := f.Space(); err == nil && full(sp) {
		x.noSpace(sp)
	}
	return slices.DeleteFunc(x.r.Findings, func(f Finding) bool { return f.Grade != Fault })
}

// find adds a finding of a kind.
func (x *examination) find(name, seen string, args ...any) {
	k, ok := kinds[name]
	if !ok {
		panic("doctor: there is no kind " + name)
	}
	f := Finding{Check: k.check, Kind: name, Grade: k.grade, Seen: fmt.Sprintf(seen, args...), Means: k.means, Do: k.do}
	x.r.Findings = append(x.r.Findings, f)
	if f.Grade.worse(x.r.Grade) {
		x.r.Grade = f.Grade
	}
}

// good adds a finding of grade ok.
func (x *examination) good(check, seen string, args ...any) {
	x.r.Findings = append(x.r.Findings, Finding{Check: check, Kind: check, Grade: OK, Seen: fmt.Sprintf(seen, args...)})
}

// settings returns those of the storage; nil: they are not known.
func (x *examination) settings() *settings.Settings {
	if x.o.Home == nil {
		return nil
	}
	return x.o.Home.Settings
}

// home judges the version of a storage, and whether it can be opened.
func (x *examination) home() {
	h := x.o.Home
	if h == nil {
		return
	}
	set := h.Settings
	if set != nil {
		x.r.Version, x.r.Format = set.Structure.Version, set.Structure.Format.String()
	}
	newer, isNewer := errors.AsType[*layout.NewerError](h.Err)
	switch {
	case isNewer:
		x.find("version-newer", "%s", newer)
	case set == nil:
		x.find("settings-unreadable", "%v", h.Err)
	default:
		x.good("version", "version %s, format %s, class %s: this program reads and writes it", x.r.Version, x.r.Format, set.Storage.ClassName)
	}
	if set == nil || isNewer {
		return
	}
	_, silent := errors.AsType[*control.SilentError](h.Err)
	switch {
	case errors.Is(h.Err, fs.ErrPermission): // the owner is found elsewhere
	case silent:
		x.find("home-silent", "%v", h.Err)
	case h.Err != nil:
		x.find("home-unreadable", "%v", h.Err)
	case !x.o.Quick && h.Running:
		x.good("home", "it runs, and answers")
	case !x.o.Quick:
		x.good("home", "it can be opened; nobody has it open, or without a control socket")
	}
	if !set.Filesystem.Sync {
		x.find("sync-off", "the storage does not wait for the disk")
	} else if !set.POSIX.DirSync {
		x.find("directory-sync-off", "the storage does not sync directories")
	}
}

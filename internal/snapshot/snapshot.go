package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Names below HOME.
const (
	sublockFile  = "misc/sublock"
	snapshotFile = "misc/snapshot"
	confFile     = "config/snapshot.conf"
)

// shutdownCode is what misc/snapshot holds after a clean close.
const shutdownCode = "shutdown"

// Options of Enter. Home and Now are mandatory.
type Options struct {
	Home string
	// Conf is a file to use instead of HOME/config/snapshot.conf.
	Conf string
	// Timeout is how long to try again when it fails; 0 = once only. Interval is
	// the time between two attempts; 0 = 10 seconds.
	Timeout, Interval time.Duration
	// Warn, if not nil, is told what goes wrong and does no harm.
	Warn func(string)
	// Getenv, if not nil, is asked for the environment of the snapshot in which
	// this tool was started; see Environment.
	Getenv func(string) string
	// Now is the clock.
	Now func() time.Time
}

// Held is a snapshot that stays until it is released. It is used by one
// goroutine at a time.
type Held struct {
	// Timestamp is a moment shortly before the snapshot mode was entered: what is
	// committed later has a later time stamp.
	Timestamp time.Time
	// Code is what misc/snapshot holds.
	Code string

	home    vfs.FS
	sublock vfs.Lock // nil in a snapshot that somebody else holds
	entered entered  // how to leave; nil if there is nothing to leave
}

// Enter brings the storage into snapshot mode and locks misc/sublock. On an
// error nothing is held and what was entered is left again. The error joins
// those of all methods; it matches dirstorage.ErrSnapshotMode if the mode was
// not reached, vfs.ErrLocked if another tool holds the lock.
func Enter(ctx context.Context, o Options) (*Held, error) {
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	home, err := vfs.OS(o.Home)
	if err != nil {
		return nil, err
	}
	if o.Getenv != nil && o.Getenv("SNAPSHOT_VERSION") != "" {
		return nested(o, home)
	}
	methods, err := Methods(o, home)
	if err != nil {
		return nil, err
	}
	begun := o.Now()
	for {
		held, err := attempt(ctx, o, home, methods)
		if err == nil || ctx.Err() != nil || o.Now().Sub(begun) >= o.Timeout {
			return held, err
		}
		o.Warn(fmt.Sprintf("trying again in %s: %v", o.Interval, err))
		select {
		case <-time.After(o.Interval):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// nested takes part in the snapshot of the tool that started this one.
func nested(o Options, home vfs.FS) (*Held, error) {
	if v := o.Getenv("SNAPSHOT_VERSION"); v != "2" {
		return nil, fmt.Errorf("%w: this was started within a snapshot of another version, SNAPSHOT_VERSION=%s; this one knows 2", dirstorage.ErrSnapshotMode, v)
	}
	dir := o.Getenv("SNAPSHOT_DIRECTORY")
	if !vfs.SameDir(dir, o.Home) {
		return nil, fmt.Errorf("%w: this was started within a snapshot of %s, and asked for %s", dirstorage.ErrSnapshotMode, dir, o.Home)
	}
	seconds, err := strconv.ParseInt(o.Getenv("SNAPSHOT_TIMESTAMP"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: SNAPSHOT_TIMESTAMP=%q is no number of seconds", dirstorage.ErrSnapshotMode, o.Getenv("SNAPSHOT_TIMESTAMP"))
	}
	code, err := readCode(home)
	if err != nil {
		return nil, err
	}
	return &Held{Timestamp: time.Unix(seconds, 0), Code: code, home: home}, nil
}

// readCode returns what misc/snapshot holds.
func readCode(home vfs.FS) (string, error) {
	code, err := home.ReadFile(snapshotFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s is not there, so A is no snapshot", dirstorage.ErrSnapshotMode, home.Path(snapshotFile))
	}
	return string(code), err
}

// Methods returns the methods to try, in their order. A running storage is
// always asked over its socket first, unless the configuration has a place for
// that.
func Methods(o Options, home vfs.FS) ([]settings.SnapshotMethod, error) {
	var text []byte
	var err error
	conf := o.Conf
	if conf == "" {
		conf = home.Path(confFile)
		if text, err = home.ReadFile(confFile); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		text, err = vfs.ReadFile(conf)
	}
	if err != nil {
		return nil, err
	}
	methods, problems := settings.ParseSnapshotConf(text)
	for _, p := range problems {
		if o.Warn != nil {
			o.Warn(fmt.Sprintf("%s: %s", conf, p))
		}
	}
	listed := false
	for i := range methods {
		listed = listed || methods[i].Kind == settings.MethodSocket
		if f := methods[i].AccessFile; f != "" && !filepath.IsAbs(f) {
			methods[i].AccessFile = filepath.Join(filepath.Dir(conf), f)
		}
	}
	if !listed {
		methods = append([]settings.SnapshotMethod{{Kind: settings.MethodSocket}}, methods...)
	}
	return methods, nil
}

// attempt tries each method once.
func attempt(ctx context.Context, o Options, home vfs.FS, methods []settings.SnapshotMethod) (*Held, error) {
	held := &Held{Timestamp: o.Now(), home: home}
	var err error
	if held.entered, err = enterBy(ctx, o, home, methods, newCode(held.Timestamp), true); err != nil && ctx.Err() != nil {
		return nil, err
	}
	// That no method worked is no error by itself: a storage that was closed
	// cleanly is a snapshot, and another tool may have entered the mode.
	cause := err
	if held.sublock, err = vfs.LockToRead(home, sublockFile); err == nil {
		held.Code, err = readCode(home)
	}
	if err == nil {
		return held, nil
	}
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return nil, errors.Join(cause, err, held.giveBack(release))
}

// Environment is what a tool that is started within the snapshot needs to take
// part in it, as the original defines it.
func (h *Held) Environment(home string) []string {
	if abs, err := filepath.Abs(home); err == nil {
		home = abs
	}
	return []string{
		"SNAPSHOT_VERSION=2",
		"SNAPSHOT_DIRECTORY=" + home,
		"SNAPSHOT_TIMESTAMP=" + strconv.FormatInt(h.Timestamp.Unix(), 10),
	}
}

// Check returns an error, which matches dirstorage.ErrSnapshotMode, if the
// snapshot did not last until now: then what was copied is not to be trusted.
func (h *Held) Check() error {
	code, err := readCode(h.home)
	if err == nil && code != h.Code {
		err = fmt.Errorf("%w: it is no longer %q but %q: what was read meanwhile is not to be trusted", dirstorage.ErrSnapshotMode, h.Code, code)
	}
	if err == nil && h.sublock != nil {
		if lerr := h.sublock.Check(); lerr != nil {
			err = fmt.Errorf("%w: what was read meanwhile is not to be trusted: %w", dirstorage.ErrSnapshotMode, lerr)
		}
	}
	return err
}

// Release gives the snapshot back, after a [Held.Check].
func (h *Held) Release(ctx context.Context) error {
	err := h.Check()
	return errors.Join(err, h.giveBack(ctx))
}

// Leave gives the snapshot back. That the storage could not be told, because it
// is gone, is an error, but says nothing about what was copied.
func (h *Held) Leave(ctx context.Context) error { return h.giveBack(ctx) }

func (h *Held) giveBack(ctx context.Context) error {
	var errs []error
	if h.sublock != nil {
		errs = append(errs, h.sublock.Close())
		h.sublock = nil
	}
	if h.entered != nil {
		errs = append(errs, h.entered.leave(ctx))
		h.entered = nil
	}
	return errors.Join(errs...)
}

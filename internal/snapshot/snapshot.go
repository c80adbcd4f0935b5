package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

const confFile = "config/snapshot.conf" // below HOME

// Join says in which snapshots, that somebody else entered, to take part.
type Join int

// The rules. A snapshot that is joined keeps its own moment and last transaction.
const (
	// Complete: those that hold everything that was committed.
	Complete Join = iota
	// Recent: also those that were entered not too long ago, with a warning.
	Recent
	// Any: all, with a warning.
	Any
)

// longest is how old a snapshot may be to be recent, if no running storage has
// another limit.
const longest = 6 * time.Hour

// Options of Enter. Home and Now are mandatory.
type Options struct {
	Home string
	// Conf is a file to use instead of HOME/config/snapshot.conf.
	Conf string
	// Timeout is how long to try again when it fails; 0 = once only. Interval is
	// the time between two attempts; 0 = 10 seconds.
	Timeout, Interval time.Duration
	// Join says which snapshots of others are good enough.
	Join Join
	// Warn, if not nil, gets errors that do no harm.
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
	// Timestamp is before the first request for this snapshot. Files that enter A later have a
	// later time of modification.
	Timestamp time.Time
	// CompleteTo: nothing that was committed up to then is missing in A. It is not
	// before Timestamp, but as good as now if the storage is closed.
	CompleteTo time.Time
	// TID is the last transaction in A; 0 = there is none.
	TID zodb.TID
	// Code is the content of misc/snapshot.
	Code string
	// Joined: somebody else entered it, and transactions may have been committed since,
	// which are not in it.
	Joined bool

	home    vfs.FS
	sublock vfs.Lock // nil in a snapshot that somebody else holds
	entered entered  // how to leave; nil if there is nothing to leave
}

// Enter brings the storage into snapshot mode and locks misc/sublock. On an error nothing is held,
// and a mode that was entered is left again. The error joins those of all methods; it matches
// zodb.ErrSnapshotMode if the mode was not reached, or is one that somebody else entered and that
// is not to be joined; vfs.ErrLocked if another tool holds the lock.
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
	methods, err := methods(o, home)
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
		return nil, fmt.Errorf("%w: this was started within a snapshot of another version, SNAPSHOT_VERSION=%s; this one knows 2", zodb.ErrSnapshotMode, v)
	}
	dir := o.Getenv("SNAPSHOT_DIRECTORY")
	if !vfs.SameDir(dir, o.Home) {
		return nil, fmt.Errorf("%w: this was started within a snapshot of %s, and asked for %s", zodb.ErrSnapshotMode, dir, o.Home)
	}
	seconds, err := strconv.ParseInt(o.Getenv("SNAPSHOT_TIMESTAMP"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: SNAPSHOT_TIMESTAMP=%q is not a number of seconds", zodb.ErrSnapshotMode, o.Getenv("SNAPSHOT_TIMESTAMP"))
	}
	code, err := readCode(home)
	if err != nil {
		return nil, err
	}
	if want := o.Getenv("SNAPSHOT_CODE"); want != "" && want != code {
		return nil, fmt.Errorf("%w: this was started within the snapshot %q, and now it is %q", zodb.ErrSnapshotMode, want, code)
	}
	tid, err := lastOfA(home)
	if err != nil {
		return nil, err
	}
	// The process that holds the lock for both may be gone, and A changed since.
	if want := o.Getenv("SNAPSHOT_TID"); want != "" && want != tid.String() {
		return nil, fmt.Errorf("%w: this was started within the snapshot of transaction %s, and now A ends with %s", zodb.ErrSnapshotMode, want, tid)
	}
	moment := time.Unix(seconds, 0)
	return &Held{Timestamp: moment, CompleteTo: moment, TID: tid, Code: code, Joined: true, home: home}, nil
}

// readCode returns the content of misc/snapshot.
func readCode(home vfs.FS) (string, error) {
	code, err := home.ReadFile(snapfile.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: %s is not there, so A is not a snapshot", zodb.ErrSnapshotMode, home.Path(snapfile.Name))
	}
	return string(code), err
}

// methods returns the methods to try, in their order. A running storage is
// always asked over its socket first, unless the configuration has a place for
// that.
func methods(o Options, home vfs.FS) ([]settings.SnapshotMethod, error) {
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
	q := &request{o: o, home: home, asked: o.Now()}
	q.code = newCode(q.asked)
	held := &Held{home: home}
	var err error
	if held.entered, err = enterBy(ctx, q, methods, true); err != nil && ctx.Err() != nil {
		return nil, err
	}
	// That no method worked is no error by itself: a storage that was closed
	// cleanly is a snapshot, and another tool may have entered the mode.
	cause := err
	if err = held.take(ctx, q); err == nil {
		return held, nil
	}
	if errors.Is(err, ErrForeign) {
		cause = nil // it says all that there is to say
	}
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return nil, errors.Join(cause, err, held.giveBack(release))
}

// take locks misc/sublock, if A is a snapshot that may be used.
func (h *Held) take(ctx context.Context, q *request) error {
	// Looked at before, too: the lock would be in the way of a process that leaves the mode.
	if _, _, err := q.look(ctx); err != nil {
		return err
	}
	lock, err := vfs.LockToRead(q.home, snapfile.Sublock)
	if err != nil {
		return err
	}
	h.sublock = lock
	r, remark, err := q.look(ctx)
	if err == nil {
		if remark != "" {
			q.o.Warn(remark)
		}
		h.Timestamp, h.CompleteTo, h.TID, h.Code = r.Moment, r.Moment, r.TID, r.Code
		h.Joined = remark != ""
		if !h.Joined && r.Code != snapfile.User(q.code) {
			h.CompleteTo = q.asked
		}
	}
	return err
}

// Environment returns the variables by which a tool started within the snapshot takes part in it,
// as the original defines it, with two more.
func (h *Held) Environment(home string) []string {
	if abs, err := filepath.Abs(home); err == nil {
		home = abs
	}
	return []string{
		"SNAPSHOT_VERSION=2",
		"SNAPSHOT_DIRECTORY=" + home,
		"SNAPSHOT_TIMESTAMP=" + strconv.FormatInt(h.Timestamp.Unix(), 10),
		"SNAPSHOT_TID=" + h.TID.String(),
		"SNAPSHOT_CODE=" + h.Code,
	}
}

// Check returns an error, which matches zodb.ErrSnapshotMode, if the snapshot did not last until
// now: then the copy is not to be trusted.
func (h *Held) Check() error {
	code, err := readCode(h.home)
	if err == nil && code != h.Code {
		err = fmt.Errorf("%w: it is no longer %q but %q: files read meanwhile are not to be trusted", zodb.ErrSnapshotMode, h.Code, code)
	}
	// One that was closed is of the same code after each close. A tool that takes part by its
	// environment holds no lock of its own.
	if tid, terr := lastOfA(h.home); err == nil {
		if err = terr; err == nil && tid != h.TID {
			err = fmt.Errorf("%w: A ended with transaction %s, and now with %s: files read meanwhile are not to be trusted", zodb.ErrSnapshotMode, h.TID, tid)
		}
	}
	if err == nil && h.sublock != nil {
		if lerr := h.sublock.Check(); lerr != nil {
			err = fmt.Errorf("%w: files read meanwhile are not to be trusted: %w", zodb.ErrSnapshotMode, lerr)
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
// is gone, is an error, but says nothing about the copy.
func (h *Held) Leave(ctx context.Context) error { return h.giveBack(ctx) }

// giveBack tells the storage before it unlocks, so that nobody else can join a snapshot about to
// end.
func (h *Held) giveBack(ctx context.Context) error {
	e, lock := h.entered, h.sublock
	h.entered, h.sublock = nil, nil
	ended := e != nil && lock != nil && e.end(ctx)
	var errs []error
	if lock != nil {
		errs = append(errs, lock.Close())
	}
	if e != nil && !ended {
		errs = append(errs, e.leave(ctx))
	}
	if e != nil {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/snapfile"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// entered knows how to leave the snapshot mode that a method entered.
type entered interface {
	// end tells the storage that the mode ends, while this process still holds the
	// sublock. It reports whether there is nothing left but to unlock.
	end(ctx context.Context) bool
	// leave ends the mode, with the sublock free.
	leave(ctx context.Context) error
	close() error
}

// newCode makes the code of a snapshot: host and pid, as the original's tool
// does, and the time, because one process may enter more than once.
func newCode(now time.Time) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%d", host, os.Getpid(), now.UnixNano())
}

// enterBy tries one method after the other. The result is nil without an error
// if A is a snapshot and there is nothing to leave. With hold, the storage leaves
// the mode by itself when this process dies, where the method can promise that.
func enterBy(ctx context.Context, q *request, methods []settings.SnapshotMethod, hold bool) (entered, error) {
	var errs []error
	refused := false
	for _, m := range methods {
		if refused && m.Kind == settings.MethodDirect {
			continue // a process has it open, so all that this could say is that it has
		}
		var e entered
		var err error
		switch m.Kind {
		case settings.MethodSocket:
			e, err = enterBySocket(ctx, q, hold)
		case settings.MethodHTTP:
			e, err = enterByHTTP(ctx, m, q)
		case settings.MethodDirect:
			err = enterDirectly(ctx, q)
		}
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		if _, ok := errors.AsType[*control.RefusedError](err); ok {
			refused = true
		}
		errs = append(errs, fmt.Errorf("method %s: %w", m.Kind, err))
	}
	return nil, errors.Join(errs...)
}

// bySocket is snapshot mode that was entered over the control socket.
type bySocket struct {
	client *control.Client
	code   string
}

func enterBySocket(ctx context.Context, q *request, hold bool) (entered, error) {
	c, err := control.Dial(ctx, q.o.Home)
	if err != nil {
		return nil, err
	}
	if err := c.Enter(ctx, q.code, hold); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &bySocket{c, q.code}, nil
}

func (b *bySocket) end(ctx context.Context) bool { return b.client.End(ctx, b.code) == nil }

func (b *bySocket) leave(ctx context.Context) error { return b.client.Leave(ctx, b.code) }

// close ends the conversation: the storage then leaves by itself, once the lock is
// free, if it has not yet.
func (b *bySocket) close() error { return b.client.Close() }

// enterDirectly rolls a storage that nobody has open forward, which leaves A as
// a snapshot. One that is a snapshot already, since a known moment, is left alone.
func enterDirectly(ctx context.Context, q *request) error {
	if r, err := snapfile.Read(q.home); err == nil && r.Code == snapfile.Shutdown {
		return nil
	}
	s, err := engine.Open(ctx, q.o.Home, engine.Options{NoControlSocket: true, CleanShutdown: true, History: engine.HistoryKept})
	if code, cerr := readCode(q.home); vfs.IsReadOnly(err) && cerr == nil && code == snapfile.Shutdown {
		q.readOnly = true // nobody here can have opened it since
		return nil
	}
	if vfs.IsReadOnly(err) {
		return fmt.Errorf("it was not closed cleanly, and on a file system that is read-only it cannot be rolled forward: %w", err)
	}
	if err != nil {
		return err
	}
	if err = s.WhyStill(); err == nil {
		err = s.WaitNormal(ctx)
	}
	return errors.Join(err, s.Close())
}

// Start puts a storage into snapshot mode and leaves it there; it is ended by
// Stop. It returns the record of the snapshot in A then: the one that this call entered, or that of
// a storage that was closed. The error matches zodb.ErrSnapshotMode if somebody else entered it.
func Start(ctx context.Context, o Options, code string) (snapfile.Record, error) {
	home, err := vfs.OS(o.Home)
	if err != nil {
		return snapfile.Record{}, err
	}
	methods, err := methods(o, home)
	if err != nil {
		return snapfile.Record{}, err
	}
	q := &request{o: o, home: home, asked: o.Now(), code: code}
	if code == "" {
		q.code = newCode(q.asked)
	}
	e, err := enterBy(ctx, q, methods, false)
	if e != nil {
		err = errors.Join(err, e.close())
	}
	if err != nil {
		return snapfile.Record{}, fmt.Errorf("%w: no method worked: %w", zodb.ErrSnapshotMode, err)
	}
	r, _, err := q.look(ctx)
	if err == nil && r.Code != snapfile.Shutdown && r.Code != snapfile.User(q.code) {
		err = fmt.Errorf("%w, as %q", ErrForeign, r.Code) // in a moment's time
	}
	return r, err
}

// patience is how long Stop waits for a process that holds the sublock for a moment.
const patience = 3 * time.Second

// Stop ends the snapshot mode that was entered under a code; an empty one stands
// for that of misc/snapshot. It reports false if there is nothing to leave: a
// storage that was closed is a snapshot until it is opened.
func Stop(ctx context.Context, o Options, code string) (bool, error) {
	home, err := vfs.OS(o.Home)
	if err != nil {
		return false, err
	}
	now, err := readCode(home)
	if err != nil {
		return false, err
	}
	user, entered := snapfile.UserCode(now)
	if !entered {
		return false, nil
	}
	if code == "" {
		code = user
	}
	methods, err := methods(o, home)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, m := range methods {
		switch m.Kind {
		case settings.MethodSocket:
			err = leaveBySocket(ctx, o, code)
		case settings.MethodHTTP:
			err = (&byHTTP{m, &request{o: o, home: home, code: code}}).leave(ctx)
		default:
			continue
		}
		if err == nil {
			return true, nil
		}
		errs = append(errs, fmt.Errorf("method %s: %w", m.Kind, err))
	}
	return false, fmt.Errorf("%w: %w", zodb.ErrSnapshotMode, errors.Join(errs...))
}

func leaveBySocket(ctx context.Context, o Options, code string) error {
	c, err := control.Dial(ctx, o.Home)
	if err != nil {
		return err
	}
	err = again(ctx, func() (error, bool) {
		err := c.Leave(ctx, code)
		return err, errors.Is(err, vfs.ErrLocked)
	})
	return errors.Join(err, c.Close())
}

// again calls f until it reports false, or patience is over.
func again(ctx context.Context, f func() (err error, again bool)) error {
	const interval = 100 * time.Millisecond
	for spent := time.Duration(0); ; spent += interval {
		err, again := f()
		if !again || spent >= patience {
			return err
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return err
		}
	}
}

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage"
	"github.com/dirstorage/dirstorage/internal/control"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// entered knows how to leave the snapshot mode that a method entered.
type entered interface {
	leave(ctx context.Context) error
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
func enterBy(ctx context.Context, o Options, home vfs.FS, methods []settings.SnapshotMethod, code string, hold bool) (entered, error) {
	var errs []error
	for _, m := range methods {
		var e entered
		var err error
		switch m.Kind {
		case settings.MethodSocket:
			e, err = enterBySocket(ctx, o, code, hold)
		case settings.MethodHTTP:
			e, err = enterByHTTP(ctx, m, code)
		case settings.MethodDirect:
			err = enterDirectly(ctx, o, home)
		}
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, err
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

func enterBySocket(ctx context.Context, o Options, code string, hold bool) (entered, error) {
	c, err := control.Dial(ctx, o.Home)
	if err != nil {
		return nil, err
	}
	if err := c.Enter(ctx, code, hold); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &bySocket{c, code}, nil
}

// leave ends the conversation in any case: the storage then leaves by itself,
// once the lock is free.
func (b *bySocket) leave(ctx context.Context) error {
	return errors.Join(b.client.Leave(ctx, b.code), b.client.Close())
}

// enterDirectly rolls a storage that nobody has open forward, which leaves A as
// a snapshot. One that is a snapshot already is left alone.
func enterDirectly(ctx context.Context, o Options, home vfs.FS) error {
	if code, err := readCode(home); err == nil && code == shutdownCode {
		return nil
	}
	s, err := dirstorage.Open(ctx, o.Home, dirstorage.Options{NoControlSocket: true, CleanShutdown: true})
	if vfs.IsReadOnly(err) {
		return fmt.Errorf("it was not closed cleanly, and on a file system that is read-only it cannot be rolled forward: %w", err)
	}
	if err != nil {
		return err
	}
	if s.Status().Snapshot == "startup" {
		err = fmt.Errorf("%w: somebody holds %s", dirstorage.ErrLocked, home.Path(sublockFile))
	} else {
		err = s.WaitNormal(ctx)
	}
	return errors.Join(err, s.Close())
}

// Start puts a storage into snapshot mode and leaves it there; it is ended by
// Stop. It returns what misc/snapshot then holds.
func Start(ctx context.Context, o Options, code string) (string, error) {
	home, err := vfs.OS(o.Home)
	if err != nil {
		return "", err
	}
	methods, err := Methods(o, home)
	if err != nil {
		return "", err
	}
	if code == "" {
		code = newCode(o.Now())
	}
	e, err := enterBy(ctx, o, home, methods, code, false)
	if b, ok := e.(*bySocket); ok && err == nil {
		err = b.client.Close()
	}
	if err != nil {
		return "", fmt.Errorf("%w: no method worked: %w", dirstorage.ErrSnapshotMode, err)
	}
	return readCode(home)
}

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
	user, entered := strings.CutPrefix(now, "user/")
	if !entered {
		return false, nil
	}
	if code == "" {
		code = user
	}
	methods, err := Methods(o, home)
	if err != nil {
		return false, err
	}
	var errs []error
	for _, m := range methods {
		switch m.Kind {
		case settings.MethodSocket:
			err = leaveBySocket(ctx, o, code)
		case settings.MethodHTTP:
			err = (&byHTTP{m, code}).leave(ctx)
		default:
			continue
		}
		if err == nil {
			return true, nil
		}
		errs = append(errs, fmt.Errorf("method %s: %w", m.Kind, err))
	}
	return false, fmt.Errorf("%w: %w", dirstorage.ErrSnapshotMode, errors.Join(errs...))
}

func leaveBySocket(ctx context.Context, o Options, code string) error {
	c, err := control.Dial(ctx, o.Home)
	if err != nil {
		return err
	}
	return errors.Join(c.Leave(ctx, code), c.Close())
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dirstorage/dirstorage/internal/restore"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// enoughRoom refuses a restore for which the disk has too little room; if that is to be ignored, the error is only
// said. Nothing is made.
func (o *restoreCommand) enoughRoom(ctx context.Context, e *env, options restore.Options) error {
	err := roomToRestore(ctx, options)
	little := isLittleRoom(err)
	switch {
	case little && o.ignoreSpace:
		e.warn(fmt.Sprintf("warning: restore into %s: %v; going on", o.target, err))
		return nil
	case little:
		return hint(fmt.Errorf("restore into %s: %w", o.target, err), "free space, or give a TARGET on another disk; --ignore-space goes on anyway, and what was unpacked stays for the next try if the disk becomes full")
	case ctx.Err() != nil:
		return err
	}
	return nil // the restore tells of all else, such as damage of an index
}

func isLittleRoom(err error) bool {
	_, little := errors.AsType[*transfer.RoomError](err)
	return little
}

// roomToRestore returns a *transfer.RoomError if a restore needs more room than there is.
func roomToRestore(ctx context.Context, options restore.Options) error {
	need, err := restore.Room(ctx, options)
	if err != nil {
		return err
	}
	target, err := vfs.OS(options.Parent.Path(options.Name)) // it may be a mount point
	if err != nil {
		return err
	}
	free, err := target.Space()
	if errors.Is(err, fs.ErrNotExist) {
		free, err = options.Parent.Space()
	}
	if err != nil {
		return err
	}
	return need.Check(free)
}

// fullAdvice is the advice about a restore that filled the disk.
func fullAdvice(target string) string {
	return fmt.Sprintf("make room (df shows bytes, df -i inodes) and run it again: it goes on where it stopped; the files until then are in %[1]s.restoring, or %[1]s/.restoring: remove that to give up", shellWord(target))
}

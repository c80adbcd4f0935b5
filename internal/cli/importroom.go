package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// openWithRoom is open, after a look whether the disk has room for what is to come. What
// HOME holds already is taken off. Nothing is made if there is too little.
func (o *importCommand) openWithRoom(ctx context.Context, e *env, estimate func() (transfer.Room, error)) (*engine.Storage, error) {
	if o.ignoreSpace {
		return o.open(ctx, e)
	}
	room, err := estimate()
	if err != nil {
		return nil, err
	}
	vacant, err := engine.Vacant(o.home)
	if err != nil {
		return nil, err
	}
	if vacant {
		if err := o.checkRoom(room); err != nil {
			return nil, err
		}
		return o.open(ctx, e)
	}
	s, err := o.open(ctx, e)
	if err == nil {
		if err = o.checkRoom(room.Without(s.Counts())); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, err
}

func (o *importCommand) checkRoom(room transfer.Room) error {
	dir, err := vfs.OS(o.home)
	if err != nil {
		return err
	}
	free, err := dir.Space()
	if err != nil { // it does not exist yet
		if dir, _, err = vfs.Split(o.home); err != nil {
			return err
		}
		if free, err = dir.Space(); err != nil {
			return nil // create says what is wrong
		}
	}
	if err := room.Check(free); err != nil {
		return hint(fmt.Errorf("import into %s: %w", o.home, err), "make room, or choose another disk; formats differ in what they need (docs/formats.md); --ignore-space goes on anyway")
	}
	return nil
}

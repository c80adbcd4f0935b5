package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// openWithRoom is open, after a look whether the disk has room for the import. Transactions that
// HOME has already are taken off. Nothing is made if there is too little.
func (o *importCommand) openWithRoom(ctx context.Context, e *env, estimate func() (transfer.Room, error)) (*engine.Storage, error) {
	room, err := estimate()
	if err != nil && o.ignoreSpace {
		return o.open(ctx, e) // the import reports the error
	}
	if err != nil {
		return nil, err
	}
	vacant, err := engine.Vacant(o.home)
	if err != nil {
		return nil, err
	}
	if vacant {
		if err := o.roomOrWarning(e, room); err != nil {
			return nil, err
		}
		return o.open(ctx, e)
	}
	s, err := o.openStorage(ctx, e)
	if err == nil {
		if err = o.roomOrWarning(e, room.Without(transfer.RoomOfCounts(s.Counts(), o.intoBundles()))); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, err
}

// intoBundles reports whether HOME has the format bundled, or will have it.
func (o *importCommand) intoBundles() bool {
	format := o.createOptions().Format
	if home, err := openHome(o.home); err == nil {
		const name = "config/settings"
		if text, err := home.ReadFile(name); err == nil {
			if set, _, err := settings.Parse(text, name); err == nil {
				format = set.Structure.Format.String()
			}
		}
	}
	return format == layout.Bundled.String()
}

// ignoredReserve is kept free by an import that goes on although there is too little room: a pack
// of its data gives that up first.
const ignoredReserve = 16 << 20

// roomOrWarning is checkRoom; if it is to be ignored, the error is only said.
func (o *importCommand) roomOrWarning(e *env, room transfer.Room) error {
	err := o.checkRoom(room)
	if err == nil || !o.ignoreSpace {
		return err
	}
	e.warn(fmt.Sprintf("warning: %v; going on. If the disk becomes full, the %s ends, and the copied transactions stay; %s, or a tenth of a smaller disk, is left for a pack (misc/reserve), which may need more: free space before it",
		err, cmp.Or(o.verb, "import"), human.Bytes(ignoredReserve)))
	return nil
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
			return nil // create reports the error
		}
	}
	if err := room.Check(free); err != nil {
		return hint(fmt.Errorf("%s into %s: %w", cmp.Or(o.verb, "import"), o.home, err), "free space, or choose another disk; formats differ in the space they need (docs/formats.md); --ignore-space goes on anyway")
	}
	return nil
}

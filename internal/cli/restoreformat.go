package cli

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// convert returns the function that makes a HOME of the format that is wanted of one of the format of
// the backups; nil: they are the same.
func (o *restoreCommand) convert(e *env, p *backup.Plan) (func(ctx context.Context, from, to vfs.FS) error, error) {
	last := p.Chain[len(p.Chain)-1]
	if o.format == "" || o.format == last.Format {
		return nil, nil
	}
	if err := (engine.CreateOptions{Format: o.format, Class: zodb.Class(last.Class)}).Validate(); err != nil {
		return nil, err
	}
	switch {
	case o.delta:
		return nil, usage("--delta cannot be combined with --format %s: the backups are of format %s; leave one of the two out", o.format, last.Format)
	case o.damaged:
		return nil, usage("--accept-damage cannot be combined with --format %s: the backups are of format %s; restore without --format, see what dirstorage check says, then run dirstorage convert", o.format, last.Format)
	}
	return func(ctx context.Context, from, to vfs.FS) error {
		c := convertCommand{home: from.Path("."), made: to.Path("."), format: o.format, ignoreSpace: true, roomTold: true}
		m := newMeter(e)
		_, err := c.do(ctx, e, m)
		if m.end(); err != nil {
			return err
		}
		// It is the storage that was restored, not a copy that a later convert would go on with.
		return errors.Join(to.Remove(convertMarkFile), to.SyncDir("misc"))
	}, nil
}

package zeo

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/internal/zeo/wire"
	"github.com/dirstorage/dirstorage/zodb"
)

// recordIternext answers with an object, and the oid to ask for next.
func (c *conn) recordIternext(r *request, a *arguments) error {
	from := zodb.OID(0)
	if a.get(0) != nil {
		from = a.oid(0)
	}
	return c.readRecord(r, a, func(ctx context.Context) (any, int, error) {
		oid, rev, err := c.hub.nextObject(ctx, from)
		if errors.Is(err, zodb.ErrNotFound) {
			return nil, 0, &pythonError{"builtins.ValueError", wire.Tuple{"there is no object from that oid on"}}
		}
		if err != nil {
			return nil, 0, err
		}
		var next any
		if oid != ^zodb.OID(0) {
			following, err := c.hub.nextOID(ctx, oid+1)
			if err == nil {
				next = following
			} else if !errors.Is(err, zodb.ErrNotFound) {
				return nil, 0, err
			}
		}
		return wire.Tuple{oid, rev.Serial, rev.Data, next}, len(rev.Data), nil
	})
}

// nextObject loads the first object from an oid on.
func (h *hub) nextObject(ctx context.Context, from zodb.OID) (zodb.OID, zodb.Revision, error) {
	for {
		oid, err := h.nextOID(ctx, from)
		if err != nil {
			return 0, zodb.Revision{}, err
		}
		rev, err := h.storage.Load(ctx, oid)
		if err == nil || !errors.Is(err, zodb.ErrNotFound) {
			return oid, rev, err
		}
		from = oid + 1 // it was deleted meanwhile
	}
}

// probes is how many oids in a row are tried one by one, before directories are
// listed: oids are given out without gaps, but packs make some.
const probes = 64

// nextOID returns the smallest oid from one on that can be loaded; an error that
// matches zodb.ErrNotFound if there is none.
func (h *hub) nextOID(ctx context.Context, from zodb.OID) (zodb.OID, error) {
	for n := 1; ; n++ {
		if from > h.storage.HighestOID() {
			return 0, &zodb.KeyError{OID: from}
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		oid := from
		if n%(probes+1) == 0 {
			var err error
			if oid, err = h.storage.NextOID(ctx, from); err != nil {
				return 0, err
			}
		}
		found, err := h.storage.Exists(ctx, oid)
		if err != nil || found {
			return oid, err
		}
		if oid == ^zodb.OID(0) {
			return 0, &zodb.KeyError{OID: from}
		}
		from = oid + 1
	}
}

package engine

import (
	"context"
	"errors"

	"github.com/dirstorage/dirstorage/zodb"
)

// ReclaimOptions are the options of [Storage.Reclaim].
type ReclaimOptions struct {
	// SinceOpen also counts the space that the storage has given back by itself since it was opened.
	SinceOpen bool `json:"since_open,omitempty"`
}

// ReclaimResult is the space that came back, and the one that does not yet.
type ReclaimResult struct {
	// Bytes is how much more the file system has, of both kinds.
	Bytes int64 `json:"bytes"`
	// Purged files were put aside by packs, and are gone for good; of format bundled, items inside
	// bundles are counted.
	Purged int64 `json:"purged"`
	// Rewritten bundles were written again without removed members.
	Rewritten int64 `json:"rewritten"`
	// Removed is the rest. A bundle keeps bytes that are gone for good if another part of it can be
	// brought back, or for want of room.
	zodb.Removed
}

// Reclaim gives back now the space of removals: it removes files for good that were
// put aside longer than delay_delete ago, and writes every bundle again that has members gone for
// good. It waits for packs and snapshot mode. When ctx ends, or room is lacking, the space given back
// by then stays free; the result has its size. It may be repeated.
//
// Errors: zodb.ErrUnsupported for class Minimal; zodb.ErrReadOnly; zodb.ErrDiskFull if a bundle has
// no room to be written again.
func (s *Storage) Reclaim(ctx context.Context, o ReclaimOptions) (r ReclaimResult, err error) {
	before := s.worker.Reclaimed()
	if o.SinceOpen {
		before.Files, before.Bytes = 0, 0
	}
	purged, err := s.packer.Reclaim(ctx)
	now := s.worker.Reclaimed()
	r.Purged, r.Rewritten = purged.Files, now.Files-before.Files
	r.Bytes = purged.Bytes + max(0, now.Bytes-before.Bytes)
	if ctx.Err() != nil {
		return r, err
	}
	space, serr := s.store.Space(ctx)
	if serr == nil {
		r.Removed = *space.Removed.Public(space.Inside, s.home.Settings.Storage.DelayDelete)
	}
	if err == nil {
		s.log.Info("gave back the space of removals", "bytes", r.Bytes, "purged", r.Purged, "rewritten", r.Rewritten, "gone_bytes", r.GoneBytes)
	}
	return r, errors.Join(err, serr)
}

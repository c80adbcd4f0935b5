package engine

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/engine/packing"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// The engine's part in packs: the public face of package packing, and its needs.

// newPacker returns the part of the storage that packs.
func (s *Storage) newPacker() *packing.Packer {
	return packing.New(packing.Config{Home: s.home, Log: s.log, Clock: s.o.Clock, RetryInterval: s.o.RetryInterval,
		Closing: s.closing, Store: s.store, State: s.state, Read: s.Reader, Space: s.space, Counter: s.tally, Reclaimer: s.worker, SameA: s.lineage.SameA})
}

// Pack removes revisions that nobody needs: those that were replaced before the
// pack time, and all of the objects that cannot be reached from the root object
// nor from anything that was written since. Each other object keeps the revision that was
// current at the pack time, and all later ones; keepclass adds to that. The two newest
// transactions stay in any case, unless min_pack_time is 0.
//
// Commits, loads and undo go on meanwhile, and so does snapshot mode: the pack
// steps aside. An object that a transaction begins to refer to while the pack runs is
// kept.
//
// If room, descriptors or memory are lacking, the pack waits for a while, and
// PackProgress says so; the error is ErrDiskFull or ErrScarce if that was in vain.
//
// When ctx ends the pack stops between two steps and leaves a storage that is as
// good as before; the next pack starts over. After a crash, or a close meanwhile,
// the next open goes on with the removing by itself.
//
// Errors: zodb.ErrUnsupported for class Minimal; zodb.ErrReadOnly; *zodb.BrokenError if
// an object that stays cannot be read, in which case nothing was removed.
func (s *Storage) Pack(ctx context.Context, o zodb.PackOptions) (zodb.PackResult, error) {
	return s.packer.Pack(ctx, o)
}

// Undelete brings back the files that packs put aside: those of one pack, which is named
// by the seconds in the names of the files, or those of all (stamp 0). x.packed stays as
// it is; the next pack removes all of it again. If it is interrupted, it may be repeated.
func (s *Storage) Undelete(ctx context.Context, stamp int64) (zodb.UndeleteResult, error) {
	return s.packer.Undelete(ctx, stamp)
}

// OnPacked has f called whenever a pack has removed something, or has finished: before
// Pack returns, and after an interrupted one was continued. There is one f; it must not
// pack or undelete.
func (s *Storage) OnPacked(f func()) { s.packer.OnPacked(f) }

// PacksUndo reports whether packs remove transactions although some of their revisions
// are left, so that the changes before the pack time cannot be seen any more.
func (s *Storage) PacksUndo() bool {
	return s.home.Settings.Storage.KeepPolicy == settings.KeepUndoable
}

// WaitPack returns when no pack is under way, in particular none that was
// interrupted and that the open goes on with. The error is that of one that could
// not be finished, if not that of ctx; ErrClosed after Close.
func (s *Storage) WaitPack(ctx context.Context) error { return s.packer.Wait(ctx) }

// PackProgress returns how far the pack has come that is under way.
func (s *Storage) PackProgress() zodb.PackProgress { return s.packer.Progress() }

package dirstorage

import (
	"context"

	"github.com/dirstorage/dirstorage/zodb"
)

// Pack removes revisions that nobody needs: those that were replaced before the
// pack time, and the objects that can be reached neither from the root object nor from later
// revisions. Each other object keeps the revision that was current at the pack time, and all later
// ones; keepclass adds to that. The two newest transactions stay in any case, unless min_pack_time
// is 0.
//
// Commits, loads and undo go on meanwhile, and so does snapshot mode: the pack
// steps aside. Objects that a transaction begins to refer to while it runs are kept.
//
// Room, descriptors or memory that are lacking are waited for a while, and PackProgress
// says so; the error is ErrDiskFull or ErrScarce if that was in vain.
//
// When ctx ends the pack stops between two steps and leaves a storage that is as
// good as before; the next pack starts over. After a crash, or a close meanwhile,
// the next open goes on with the removing by itself.
//
// Errors: zodb.ErrUnsupported for class Minimal; zodb.ErrReadOnly; *zodb.BrokenError if
// an object that stays cannot be read, in which case nothing was removed.
func (s *Storage) Pack(ctx context.Context, o zodb.PackOptions) (zodb.PackResult, error) {
	return s.engine.Pack(ctx, o)
}

// WaitPack returns when no pack is under way, in particular none that was
// interrupted and that the open goes on with. The error is that of one that could
// not be finished, if not that of ctx; ErrClosed after Close.
func (s *Storage) WaitPack(ctx context.Context) error { return s.engine.WaitPack(ctx) }

// PackProgress returns how far the pack has come that is under way.
func (s *Storage) PackProgress() zodb.PackProgress { return s.engine.PackProgress() }

// OnPacked has f called whenever a pack, no matter at whose request, has removed some or all of its
// objects: before Pack returns, and after the rest of an interrupted pack. There is one f; it must
// not pack or undelete.
func (s *Storage) OnPacked(f func()) { s.engine.OnPacked(f) }

// PacksUndo reports whether packs remove transactions although some of their revisions are left, so
// that changes before the pack time cannot be seen any more.
func (s *Storage) PacksUndo() bool { return s.engine.PacksUndo() }

// Undelete brings back files that packs put aside: those of one pack, which is named by the seconds
// in the names of the files, or of all (stamp 0). x.packed stays as it is; the next pack removes
// all of it again. If it is interrupted, it may be repeated.
func (s *Storage) Undelete(ctx context.Context, stamp int64) (zodb.UndeleteResult, error) {
	return s.engine.Undelete(ctx, stamp)
}

// EnterSnapshot puts the storage into snapshot mode under a code that the
// caller chooses. When it returns, misc/snapshot exists, A holds exactly the
// transactions up to the one that was last at some moment during the call,
// everything of A is durable, and nothing below A changes until
// [Storage.LeaveSnapshot] is called with the same code. The sublock is free
// then: a tool that copies A takes it, and the mode cannot be left before it is given back. Writers
// go on meanwhile.
//
// It waits, until ctx ends, for an earlier snapshot's B to be moved into A. If
// the storage is in snapshot mode already, the error matches ErrSnapshotMode, and
// says by whom it was entered, and when.
func (s *Storage) EnterSnapshot(ctx context.Context, code string) error {
	return s.engine.EnterSnapshot(ctx, code)
}

// LeaveSnapshot ends the snapshot mode that was entered under that code: B is
// moved into A in the background. It fails, and changes nothing, if the code
// is another one, or while somebody holds the sublock (ErrLocked). After an error
// that passes (ErrDiskFull, ErrScarce) it is left as soon as that is possible.
func (s *Storage) LeaveSnapshot(ctx context.Context, code string) error {
	return s.engine.LeaveSnapshot(ctx, code)
}

// WaitNormal returns when the storage is not in snapshot mode and B is empty.
func (s *Storage) WaitNormal(ctx context.Context) error { return s.engine.WaitNormal(ctx) }

// Home returns the path of HOME.
func (s *Storage) Home() string { return s.engine.Home() }

// Identity returns the content of config/identity, 32 hexadecimal digits.
func (s *Storage) Identity() string { return s.engine.Identity() }

// Status returns a description of the storage. It costs nothing.
func (s *Storage) Status() zodb.Status { return s.engine.Status() }

// Counts returns how much the storage holds, unflushed transactions included. It costs nothing,
// even for a large storage, and may be called from the callback of [zodb.TxnEnd.Finish], whose
// transaction it includes then.
func (s *Storage) Counts() zodb.Counts { return s.engine.Counts() }

// CountExactly counts by reading the names and sizes of all files, which takes
// a while in a large storage, and keeps the result. A storage that is open for
// writing is in snapshot mode meanwhile.
func (s *Storage) CountExactly(ctx context.Context) (zodb.Counts, error) {
	return s.engine.CountExactly(ctx)
}

// Close ends the storage. Transactions that are open are aborted; those in
// Finish are finished first. A pack or undelete that is under way stops, and has
// returned from its last step when Close returns; the next Open goes on with a pack that removes. Normally everything is flushed then, the log is
// removed and A is left as a snapshot (misc/snapshot says “shutdown”). With
// quick_shutdown, in snapshot mode, while B is being moved into A, or after a
// failure, things are left as they are and the next Open rolls forward. Close takes no longer than
// the backlog of the flush needs, at any size of the database. The error is that of the last flush,
// or of releasing the locks.
func (s *Storage) Close() error { return s.engine.Close() }

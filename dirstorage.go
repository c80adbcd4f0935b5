package dirstorage

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/zodb"
)

// Create makes a new, empty HOME: no root object, no transaction, last tid zero. The
// directory above must exist. HOME itself must not, or must be an empty directory. The leftovers of
// a crash are never taken for a storage, and the next Create begins anew.
//
// Errors: fs.ErrExist if anything else is there; zodb.ErrLocked if another process makes
// the same HOME; *zodb.OptionError.
func Create(home string, o CreateOptions) error {
	return engine.Create(home, engine.CreateOptions{Class: o.Class, Format: o.Format, Set: o.Set})
}

// Storage is an open HOME. All methods may be called concurrently. It is a
// [zodb.Storage], so a transaction that it begins is a [zodb.Txn].
type Storage struct{ engine *engine.Storage }

var _ zodb.Storage = (*Storage)(nil)

// Open opens the storage at home. Transactions that a crash, a quick shutdown or a close during a
// snapshot left behind are rolled forward: they are there at once, and are moved to their places in
// the background; [Storage.WaitNormal] waits for that. If somebody holds misc/sublock, the storage
// starts in snapshot mode and leaves it by itself when the lock is free.
//
// Errors: zodb.ErrNotAStorage; zodb.ErrLocked, if another process has it open, naming its
// pid; an error about config/settings; *zodb.CorruptError or zodb.ErrJournalOlder, if the journal
// cannot be rolled forward, in which case nothing was changed.
func Open(ctx context.Context, home string, o Options) (*Storage, error) {
	s, err := engine.Open(ctx, home, o.engine())
	if err != nil {
		return nil, err
	}
	return &Storage{engine: s}, nil
}

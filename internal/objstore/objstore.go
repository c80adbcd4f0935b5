// Package objstore is where backups are kept: named, immutable objects that
// appear whole or not at all. [Dir] keeps them as files of one directory; an
// object storage of the network fits behind [Store] as well.
package objstore

import (
	"context"
	"io"
	"iter"
)

// Store keeps objects by name. A name is one path element: letters, digits,
// dots, hyphens and underscores, not beginning with a dot. Methods may be
// called concurrently.
type Store interface {
	// Put stores the bytes that write produces. When it returns nil, the object is durable
	// and whole, in place of any earlier one of that name. On an error, or a crash, the object is
	// as before, or the new one, whole, though perhaps not durable: see Sync. Calls may be nested.
	Put(ctx context.Context, name string, write func(io.Writer) error) error
	// Get opens an object; the error matches fs.ErrNotExist if there is none.
	Get(ctx context.Context, name string) (Object, error)
	// List yields all objects, in no order.
	List(ctx context.Context) iter.Seq2[Info, error]
	// Delete removes an object durably; the error matches fs.ErrNotExist if there
	// is none.
	Delete(ctx context.Context, name string) error
	// Lock keeps others from changing anything until it is closed. If somebody
	// has it, the error matches vfs.ErrLocked. Reading needs no lock.
	Lock(ctx context.Context) (io.Closer, error)
	// Sync makes durable that the objects are there that List yields, and those gone
	// that it does not. An operation that failed, or whose process was killed, may have
	// left something that is not.
	Sync(ctx context.Context) error
	// Sweep removes the leftovers of interrupted calls of Put. The caller holds the lock.
	Sweep(ctx context.Context) error
	// Path returns a user's name for an object, for messages; "" stands for the
	// store itself.
	Path(name string) string
}

// Object is an open object. Reads at offsets may be concurrent.
type Object interface {
	io.ReaderAt
	io.Closer
	// Size is the number of bytes.
	Size() int64
}

// Info describes an object.
type Info struct {
	Name string
	Size int64
}

package engine

import (
	"context"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// OpenOn is Open on another file system than that of the machine, whose root is HOME. It is for
// tests of packages above the engine.
func OpenOn(ctx context.Context, fs vfs.FS, home string, o Options) (*Storage, error) {
	o.fs = fs
	return Open(ctx, home, o)
}

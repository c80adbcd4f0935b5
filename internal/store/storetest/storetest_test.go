package storetest

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
)

func TestMemoryConforms(t *testing.T) {
	t.Parallel()
	Conformance(t, func(*testing.T) store.Store { return NewMemory(crashfs.New(1)) })
}

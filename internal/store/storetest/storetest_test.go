package storetest

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/store"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

func TestMemoryConforms(t *testing.T) {
	t.Parallel()
	Conformance(t, func(t *testing.T) (store.Store, vfs.FS) {
		disk := crashfsWithJournal()
		if err := disk.Mkdir("misc"); err != nil {
			t.Fatal(err)
		}
		return NewMemory(disk), disk
	})
}

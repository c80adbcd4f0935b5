package cli

import (
	"slices"
	"sync"

	"github.com/dirstorage/dirstorage/internal/zeo"
)

// openedStorages are the storages that are open so far. The HTTP server answers before all
// are, so its methods may be called concurrently.
type openedStorages struct {
	mu   sync.Mutex
	list []zeo.StorageOptions // guarded by mu
}

func (o *openedStorages) add(st zeo.StorageOptions) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, st)
}

// all returns a list of the caller's own.
func (o *openedStorages) all() []zeo.StorageOptions {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.list)
}

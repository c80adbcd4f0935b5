package cli

import (
	"testing"

	"github.com/dirstorage/dirstorage/internal/config"
)

// TestCacheOfClientsIsNotInAHome when they are started in the directory of the server.
func TestCacheOfClientsIsNotInAHome(t *testing.T) {
	t.Parallel()
	for home, want := range map[string]string{"./var": "blobcache", "var/": "blobcache", ".": "blobcache", "var/zodb": "var/blobcache", "/srv/zodb": "var/blobcache", "variant": "var/blobcache"} {
		g := greeting{conf: &config.Config{Storages: []config.Storage{{Name: "1", Home: home}}}}
		if got := g.cache(); got != want {
			t.Errorf("%s: %s, want %s", home, got, want)
		}
	}
}

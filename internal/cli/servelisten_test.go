package cli

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
)

// TestServeListensWhenEverythingIsReady: nobody can connect before the storages are open.
func TestServeListensWhenEverythingIsReady(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, socket := filepath.Join(dir, "home"), filepath.Join(dir, "s")
	if err := engine.Create(home, engine.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	held, err := engine.Open(t.Context(), home, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := startServe(t, "--listen", socket, "--lock-wait", "60s", "--blob-dir", filepath.Join(dir, "blobs"), home)
	s.await(&s.log, "waiting until another process closes the storage")
	if c, err := net.Dial("unix", socket); err == nil {
		c.Close()
		t.Error("it listens before the storage is open")
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	s.await(&s.log, "listening address=(.*)")
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	s.end()
}

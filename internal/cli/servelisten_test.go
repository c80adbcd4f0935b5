package cli

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/vfs"
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

// TestServeNamesTheProcessInItsWay: of this program with its HOME, of another one with its name.
func TestServeNamesTheProcessInItsWay(t *testing.T) {
	t.Parallel()
	if _, err := vfs.Processes(); err != nil {
		t.Skip("processes cannot be seen here: ", err)
	}
	dir := t.TempDir()
	home, socket := filepath.Join(dir, "first"), filepath.Join(dir, "zeo.sock")
	s := startServe(t, "--listen", "127.0.0.1:0", "--listen", socket, "--http-listen", "127.0.0.1:0", home)
	address := s.await(&s.out, `zeo://(127\.0\.0\.1:\d+)\n`)
	probes := s.await(&s.log, `listening for probes and metrics address=(\S+)`)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ours := fmt.Sprintf("hint: process %d serves %s there: end it (kill %d), or choose another ", s.cmd.Process.Pid, home, s.cmd.Process.Pid)
	for _, tc := range []struct{ flag, address, want string }{
		{"--listen", address, ours + "--listen\n"},
		{"--listen", ":" + port, ours + "--listen\n"},
		{"--listen", socket, ours + "--listen\n"},
		{"--http-listen", probes, ours + "--http-listen\n"},
		{"--listen", other.Addr().String(), fmt.Sprintf("hint: process %d ", os.Getpid())},
	} {
		args := []string{"serve", tc.flag, tc.address, filepath.Join(dir, "second")}
		if tc.flag != "--listen" {
			args = append(args, "--listen", "127.0.0.1:0")
		}
		want(t, exitFailed, tc.want, args...)
	}
	if _, err := os.Stat(filepath.Join(dir, "second")); err == nil {
		t.Error("it made a HOME")
	}
	s.end()
}

func TestAnAddressOfAnUnknownProcessHasAWayToFindIt(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"192.0.2.1:1": "sport = :1 ", "/no/such.sock": "ss -lxp"} {
		if got := addressTaken(address); !strings.Contains(got, want) {
			t.Errorf("%s: %s", address, got)
		}
	}
}

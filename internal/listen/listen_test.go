package listen_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/listen"
)

// deadSocket leaves a socket as a killed process does.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOnlyADeadSocketIsReplaced has everything that may be at the path of a socket.
func TestOnlyADeadSocketIsReplaced(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		make    func(t *testing.T, path string)
		refused string // part of the error; "" = it listens
	}{
		{"nothing", func(*testing.T, string) {}, ""},
		{"dead socket", deadSocket, ""},
		{"file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("FS30"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is a file, not a socket"},
		{"empty file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is a file, not a socket"},
		{"empty directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is a directory, not a socket"},
		{"link to a dead socket", func(t *testing.T, path string) {
			deadSocket(t, path+"2")
			if err := os.Symlink(path+"2", path); err != nil {
				t.Fatal(err)
			}
		}, "is a symbolic link, not a socket"},
		{"pipe", func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is a special file, not a socket"},
		{"socket of datagrams", func(t *testing.T, path string) {
			c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}, "cannot be told whether another process listens"},
		{"socket in use", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "address already in use"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			tc.make(t, path)
			before, _ := os.Lstat(path)
			if err := listen.Check(path); (err != nil) != (tc.refused != "") {
				t.Errorf("Check: %v", err)
			}
			l, err := listen.Open("unix:" + path)
			if tc.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				if c, err := net.Dial("unix", path); err != nil {
					t.Error(err)
				} else {
					c.Close()
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the socket is still there: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("Open: %v; want “%s”", err, tc.refused)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
				t.Errorf("it was touched: %v, %v; %v", before, after, err)
			}
		})
	}
}

// TestCloseLeavesWhatHasTheNameThen: only the own socket goes at the end.
func TestCloseLeavesWhatHasTheNameThen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := listen.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "data" {
		t.Errorf("the file that has the name now: %q, %v", b, err)
	}
}

// TestTCP: an address that is in use is told by Check already, and Check keeps none.
func TestTCP(t *testing.T) {
	t.Parallel()
	l, err := listen.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listen.Check(l.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("in use: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := listen.Check(l.Addr().String()); err != nil {
		t.Errorf("free again: %v", err)
	}
	if err := listen.Check(filepath.Join(t.TempDir(), "none", "s")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket in a directory that is not there: %v", err)
	}
}

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ended returns the id of a process that has ended.
func ended(t *testing.T) int {
	t.Helper()
	c := exec.CommandContext(t.Context(), "true")
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	return c.Process.Pid
}

// TestPidFileReplacesPidFilesOnly has everything that may be at the path of a pid file.
func TestPidFileReplacesPidFilesOnly(t *testing.T) {
	t.Parallel()
	file := func(text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tc := range []struct {
		name    string
		make    func(t *testing.T, path string)
		refused string // part of the error; "" = it is replaced
	}{
		{"nothing", func(*testing.T, string) {}, ""},
		{"of a process that has ended", file(fmt.Sprintln(ended(t))), ""},
		{"without a line break", file(fmt.Sprint(ended(t))), ""},
		{"own", file(fmt.Sprintln(os.Getpid())), ""},
		{"empty", file(""), ""},
		{"of a process that began later", func(t *testing.T, path string) {
			file(fmt.Sprintln(os.Getppid()))(t, path)
			if err := os.Chtimes(path, time.Time{}, time.Unix(1e9, 0)); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"of a process that is running", file(fmt.Sprintln(os.Getppid())), "that is running"},
		{"Data.fs", file("FS30" + strings.Repeat("\x00", 200)), "is not a pid file"},
		{"short text", file("FS30"), "is not a pid file"},
		{"number and more", file("12 34\n"), "is not a pid file"},
		{"zero", file("0\n"), "is not a pid file"},
		{"blanks", file("\n\n"), "is not a pid file"},
		{"negative", file("-1\n"), "is not a pid file"},
		{"directory", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is not an ordinary file"},
		{"link", func(t *testing.T, path string) {
			if err := os.Symlink(path+"2", path); err != nil {
				t.Fatal(err)
			}
		}, "is not an ordinary file"},
		{"pipe", func(t *testing.T, path string) {
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is not an ordinary file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "pid")
			tc.make(t, path)
			beside := path + ".new" // somebody's file with a name like that of an aside file
			file("data")(t, beside)
			before, _ := os.Lstat(path)
			remove, err := writePidFile(path)
			if b, rerr := os.ReadFile(beside); rerr != nil || string(b) != "data" {
				t.Errorf("the file beside it: %q, %v", b, rerr)
			}
			if tc.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tc.refused) {
					t.Errorf("%v; want “%s”", err, tc.refused)
				}
				after, err := os.Lstat(path)
				if err != nil || !os.SameFile(before, after) || before.Size() != after.Size() {
					t.Errorf("it was touched: %v, %v; %v", before, after, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != fmt.Sprintln(os.Getpid()) {
				t.Errorf("it holds %q, %v", b, err)
			}
			if err := remove(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still there: %v", err)
			}
		})
	}
}

// TestPidFileOfAnotherStays: at the end only the file of this process goes.
func TestPidFileOfAnotherStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pid")
	remove, err := writePidFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "1\n" {
		t.Errorf("it holds %q, %v", b, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := remove(); err != nil {
		t.Errorf("after it was removed: %v", err)
	}
}

// TestServeTouchesNoFile: a Data.fs where a socket or a pid file is wanted stays as it is.
func TestServeTouchesNoFile(t *testing.T) {
	t.Parallel()
	for _, flag := range []string{"--listen", "--pid-file"} {
		dir := t.TempDir()
		data := filepath.Join(dir, "Data.fs")
		if err := os.WriteFile(data, []byte("FS30"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := startServe(t, "--listen", "127.0.0.1:0", flag, data, filepath.Join(dir, "home"))
		err := s.cmd.Wait()
		if s.cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(s.log.String(), "not touched") {
			t.Errorf("%s: %v\n%s", flag, err, s.log.String())
		}
		if b, err := os.ReadFile(data); err != nil || string(b) != "FS30" {
			t.Errorf("%s: the file is %q, %v", flag, b, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "home")); err == nil {
			t.Errorf("%s: a HOME was made before that was known", flag)
		}
	}
}

// TestServeReplacesADeadSocket: one that a killed server left.
func TestServeReplacesADeadSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home, socket, pid := filepath.Join(dir, "home"), filepath.Join(dir, "s"), filepath.Join(dir, "pid")
	for range 2 {
		s := startServe(t, "--listen", socket, "--pid-file", pid, home)
		s.await(&s.log, `listening address=(.*)`)
		second := startServe(t, "--listen", socket, filepath.Join(dir, "other"))
		if err := second.cmd.Wait(); !strings.Contains(second.log.String(), "address already in use") {
			t.Errorf("a second server: %v\n%s", err, second.log.String())
		}
		second = startServe(t, "--listen", "127.0.0.1:0", "--pid-file", pid, filepath.Join(dir, "other"))
		if err := second.cmd.Wait(); !strings.Contains(second.log.String(), "that is running") {
			t.Errorf("a second server with the same pid file: %v\n%s", err, second.log.String())
		}
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		s.cmd.Wait()
	}
}

package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// fileCalls are the ways to the disk that the standard library offers past
// internal/vfs, by package.
var fileCalls = map[string][]string{
	"os": {
		"Chmod", "Chown", "Chtimes", "CopyFS", "Create", "CreateTemp", "DirFS", "Lchown", "Link", "Lstat",
		"Mkdir", "MkdirAll", "MkdirTemp", "NewFile", "Open", "OpenFile", "OpenInRoot", "OpenRoot", "ReadDir",
		"ReadFile", "Readlink", "Remove", "RemoveAll", "Rename", "Stat", "Symlink", "Truncate", "WriteFile",
	},
	// A Unix socket is a file, and its listener removes a file of its name at the end.
	"net":           {"Listen", "ListenConfig", "ListenPacket", "ListenUnix", "ListenUnixgram"},
	"io/ioutil":     {"ReadDir", "ReadFile", "TempDir", "TempFile", "WriteFile"},
	"path/filepath": {"EvalSymlinks", "Glob", "Walk", "WalkDir"},
	"syscall": {
		"Chmod", "Chown", "Fallocate", "Fchmod", "Fchown", "Fdatasync", "Flock", "Fsync", "Ftruncate", "Lchown", "Link", "Mkdir",
		"Rename", "Renameat", "Rmdir", "Symlink", "Sync", "Truncate", "Unlink", "Unlinkat", "Utimes", "UtimesNano",
	},
	"golang.org/x/sys/unix": {
		"Chmod", "Chown", "Fallocate", "Fchmod", "Fchown", "Fchownat", "Fdatasync", "Flock", "Fsync", "Ftruncate", "Lchown", "Link",
		"Mkdir", "Mkdirat", "Openat",
		"Rename", "Renameat", "Renameat2", "Rmdir", "Symlink", "Sync", "Syncfs", "Truncate", "Unlink", "Unlinkat", "UtimesNanoAt",
	},
}

// doorExceptions lists the files that may go past the door, with the calls and the reason.
var doorExceptions = []struct{ pkg, call, why string }{
	{"internal/cli", "os.MkdirTemp", "the directory of the demo"},
	{"internal/cli", "os.RemoveAll", "the directory of the demo"},
	{"internal/listen", "net.Listen", "TCP"},
	{"internal/listen", "net.ListenUnix", "looks first, and removes only its own socket"},
	{"internal/control", "net.Listen", "the control socket, under misc/lock"},
	{"internal/cli", "os.Mkdir", "a directory that somebody named"},
}

// pastTheDoor finds uses of files that do not go through internal/vfs.
func pastTheDoor(s source) []finding {
	if s.test() || testOnly(s.pkg) || s.pkg == "internal/vfs" {
		return nil
	}
	var found []finding
	for importPath, names := range fileCalls {
		s.uses(importPath, func(n ast.Node, name string) {
			call := importPath[strings.LastIndexByte(importPath, '/')+1:] + "." + name
			if slices.Contains(names, name) && !excepted(s.pkg, call) {
				found = append(found, s.at(n, fmt.Sprintf("%s in %s: only internal/vfs touches files", call, s.pkg)))
			}
		})
	}
	return found
}

func excepted(pkg, call string) bool {
	for _, e := range doorExceptions {
		if e.pkg == pkg && e.call == call {
			return true
		}
	}
	return false
}

func TestOnlyVFSTouchesFiles(t *testing.T) {
	t.Parallel()
	used := make(map[string]bool)
	for _, s := range project(t) {
		report(t, pastTheDoor(s))
		for importPath := range fileCalls {
			s.uses(importPath, func(_ ast.Node, name string) {
				if !s.test() {
					used[s.pkg+" "+importPath[strings.LastIndexByte(importPath, '/')+1:]+"."+name] = true
				}
			})
		}
	}
	for _, e := range doorExceptions {
		if !used[e.pkg+" "+e.call] {
			t.Errorf("%s does not use %s any more: remove the exception", e.pkg, e.call)
		}
	}
}

func TestFileCallPastTheDoorIsFound(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, code string
		want             int
	}{
		{"call", "internal/store/classic/a.go", `import "os"; func f() { os.Rename("a", "b") }`, 1},
		{"handed on", "internal/store/classic/a.go", `import "os"; var f = os.Remove`, 1},
		{"renamed import", "internal/store/classic/a.go", `import my "os"; func f() { my.Create("a") }`, 1},
		{"system call", "internal/store/classic/a.go", `import "golang.org/x/sys/unix"; func f() { unix.Rename("a", "b") }`, 1},
		{"socket", "internal/ops/a.go", `import "net"; func f() { net.Listen("unix", "a") }`, 1},
		{"not a file", "internal/store/classic/a.go", `import "os"; func f() { os.Getpid() }`, 0},
		{"another package's name", "internal/store/classic/a.go", `func f() { os.Rename("a", "b") }`, 0},
		{"the door itself", "internal/vfs/a.go", `import "os"; func f() { os.Rename("a", "b") }`, 0},
		{"a test", "internal/store/classic/a_test.go", `import "os"; func f() { os.Rename("a", "b") }`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := pastTheDoor(parse(t, tc.file, "package a\n"+tc.code)); len(got) != tc.want {
				t.Errorf("found %v, want %d", got, tc.want)
			}
		})
	}
}

package errfs_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/internal/vfs/crashfs"
	"github.com/dirstorage/dirstorage/internal/vfs/errfs"
	"github.com/dirstorage/dirstorage/internal/vfs/vfstest"
)

func TestWithoutErrorsItIsTheInnerOne(t *testing.T) {
	t.Parallel()
	vfstest.Run(t, func(*testing.T) vfs.FS { return errfs.New(crashfs.New(1), nil) })
}

func TestEachOperationFailsWhenItIsTold(t *testing.T) {
	t.Parallel()
	f := errfs.New(crashfs.New(1), nil)
	f.ShortWrites()
	file, err := f.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write([]byte("12345678")); err != nil {
		t.Fatal(err)
	}
	asked := make(map[string]bool)
	f.Decide(func(op errfs.Op) error { asked[op.Kind] = true; return syscall.EIO })
	for kind, do := range map[string]func() error{
		"open": func() error { _, err := f.Open("a"); return err }, "openwrite": func() error { _, err := f.OpenWrite("a"); return err },
		"create": func() error { _, err := f.Create("b"); return err }, "read": func() error { _, err := f.ReadFile("a"); return err },
		"write": func() error { _, err := file.Write([]byte("abcd")); return err }, "allocate": func() error { return file.Allocate(10) },
		"sync": file.Sync, "mkdir": func() error { return f.Mkdir("d") }, "remove": func() error { return f.Remove("a") },
		"rename": func() error { return f.Rename("a", "b") }, "link": func() error { return f.Link("a", "b") },
		"chmod": func() error { return f.SetReadOnly("a") }, "stat": func() error { _, err := f.Stat("a"); return err }, "syncdir": func() error { return f.SyncDir(".") }, "syncall": f.SyncAll,
		"lock": func() error { _, err := f.Lock("l"); return err }, "space": func() error { _, err := f.Space(); return err },
		"list": func() error {
			for _, err := range f.List(".") {
				return err
			}
			return nil
		},
		"close": file.Close,
	} {
		if kind == "close" {
			continue // last
		}
		if err := do(); !errors.Is(err, syscall.EIO) || !asked[kind] {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if err := file.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
	f.Decide(nil)
	if b, err := f.ReadFile("a"); err != nil || string(b) != "12345678ab" {
		t.Errorf("after a short write: %q, %v", b, err)
	}
}

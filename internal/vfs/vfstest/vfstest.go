// Package vfstest is the conformance suite of vfs.FS. It runs against the operating system and
// against the file systems of tests, so that these behave alike.
package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Run runs the suite; open returns a new file system with an empty root.
func Run(t *testing.T, open func(t *testing.T) vfs.FS) {
	for name, test := range map[string]func(*testing.T, vfs.FS){
		"files":                     files,
		"names":                     names,
		"rename":                    rename,
		"exchange":                  exchange,
		"link":                      link,
		"list":                      list,
		"times":                     times,
		"read-only":                 readOnly,
		"whole files":               wholeFiles,
		"offsets":                   offsets,
		"open and gone":             openAndGone,
		"locks":                     locks,
		"locks of directories":      dirLocks,
		"atomic writing":            atomicWriting,
		"whole trees":               wholeTrees,
		"errors name the operation": errorsSayWhat,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func put(t *testing.T, f vfs.FS, name, content string) {
	t.Helper()
	file, err := f.Create(name)
	ok(t, err)
	_, err = io.WriteString(file, content)
	ok(t, errors.Join(err, file.Sync(), file.Close()))
}

func holds(t *testing.T, f vfs.FS, name, want string) {
	t.Helper()
	if got, err := f.ReadFile(name); err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
	}
}

func files(t *testing.T, f vfs.FS) {
	put(t, f, "a", "content")
	holds(t, f, "a", "content")
	info, err := f.Stat("a")
	ok(t, err)
	if info.Name != "a" || info.Size != 7 || info.IsDir() || info.Links != 1 || info.Ino == 0 {
		t.Errorf("info %+v", info)
	}
	_, err = f.Create("a")
	fails(t, err, fs.ErrExist)
	holds(t, f, "a", "content")
	file, err := f.Open("a")
	ok(t, err)
	b, err := io.ReadAll(file)
	ok(t, errors.Join(err, file.Close()))
	if string(b) != "content" {
		t.Errorf("read %q", b)
	}
	ok(t, f.Remove("a"))
	_, err = f.Stat("a")
	fails(t, err, fs.ErrNotExist)
	fails(t, f.Remove("a"), fs.ErrNotExist)
}

func names(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("d"))
	fails(t, f.Mkdir("d"), fs.ErrExist)
	fails(t, f.Mkdir("none/d"), fs.ErrNotExist)
	_, err := f.Create("none/a")
	fails(t, err, fs.ErrNotExist)
	for _, open := range []func(string) (vfs.File, error){f.Open, f.OpenWrite} {
		_, err = open("none")
		fails(t, err, fs.ErrNotExist)
	}
	_, err = f.ReadFile("none")
	fails(t, err, fs.ErrNotExist)
	put(t, f, "d/a", "")
	if err := f.Remove("d"); err == nil {
		t.Error("a directory that holds something was removed")
	}
	ok(t, errors.Join(f.Remove("d/a"), f.Remove("d"), f.SyncDir(".")))
	info, err := f.Stat(".")
	ok(t, err)
	if !info.IsDir() {
		t.Errorf("the root is %+v", info)
	}
}

func rename(t *testing.T, f vfs.FS) {
	put(t, f, "a", "new")
	put(t, f, "b", "old")
	before, err := f.Stat("a")
	ok(t, err)
	ok(t, f.Rename("a", "b"))
	holds(t, f, "b", "new")
	after, err := f.Stat("b")
	ok(t, err)
	if after.Ino != before.Ino || !after.ModTime.Equal(before.ModTime) {
		t.Errorf("a rename changes %+v to %+v", before, after)
	}
	_, err = f.Stat("a")
	fails(t, err, fs.ErrNotExist)
	fails(t, f.Rename("a", "b"), fs.ErrNotExist)
	fails(t, f.Rename("b", "none/b"), fs.ErrNotExist)
	holds(t, f, "b", "new")
}

func link(t *testing.T, f vfs.FS) {
	put(t, f, "a", "one")
	ok(t, f.Link("a", "b"))
	fails(t, f.Link("a", "b"), fs.ErrExist)
	info, err := f.Stat("b")
	ok(t, err)
	if info.Links != 2 {
		t.Errorf("%d links", info.Links)
	}
	// Replacing one name leaves the other.
	put(t, f, "c", "two")
	ok(t, f.Rename("c", "a"))
	holds(t, f, "b", "one")
	holds(t, f, "a", "two")
}

func list(t *testing.T, f vfs.FS) {
	var want []string
	for _, name := range []string{"a", "b", "c"} {
		put(t, f, name, "")
		want = append(want, name)
	}
	ok(t, f.Mkdir("d"))
	var got []string
	for e, err := range f.List(".") {
		ok(t, err)
		if e.IsDir() != (e.Name == "d") {
			t.Errorf("entry %+v", e)
		}
		got = append(got, e.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, append(want, "d")) {
		t.Errorf("list %v", got)
	}
	for _, err := range f.List("none") {
		fails(t, err, fs.ErrNotExist)
	}
	for range f.List(".") {
		break // a consumer may stop
	}
}

func times(t *testing.T, f vfs.FS) {
	put(t, f, "a", "")
	want := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	ok(t, f.SetModTime("a", want))
	if info, err := f.Stat("a"); err != nil || !info.ModTime.Equal(want) {
		t.Errorf("%v, %v", info.ModTime, err)
	}
	fails(t, f.SetModTime("none", want), fs.ErrNotExist)
}

func wholeFiles(t *testing.T, f vfs.FS) {
	for _, size := range []int{0, 1, 511, 512, 4096, 3 << 20} {
		name := "f" + strconv.Itoa(size)
		want := strings.Repeat("x", size)
		created, err := vfs.Put(f, name, []byte(want), size%2 == 0)
		ok(t, err)
		if !created {
			t.Error("it says that it made no file")
		}
		holds(t, f, name, want)
	}
	created, err := vfs.Put(f, "f1", []byte("other"), false)
	fails(t, err, fs.ErrExist)
	if p, isPath := errors.AsType[*fs.PathError](err); created || !isPath || p.Path != f.Path("f1") {
		t.Errorf("created %v, %v", created, err)
	}
	holds(t, f, "f1", "x")
	created, err = vfs.Put(f, "none/a", nil, false)
	fails(t, err, fs.ErrNotExist)
	if created {
		t.Error("it says that it made a file")
	}
	ok(t, f.Mkdir("d"))
	_, err = f.ReadFile("d")
	fails(t, err, syscall.EISDIR)
}

// readOnly: every operation on a file on its way into A is possible without the permission to
// write.
func readOnly(t *testing.T, f vfs.FS) {
	put(t, f, "a", "content")
	before, err := f.Stat("a")
	ok(t, err)
	file, err := f.OpenWrite("a")
	ok(t, err)
	ok(t, f.SetReadOnly("a"))
	ok(t, f.SetReadOnly("a"))
	info, err := f.Stat("a")
	ok(t, err)
	if info.Mode != before.Mode&^0o222 {
		t.Errorf("mode %v, before %v", info.Mode, before.Mode)
	}
	if !info.ModTime.Equal(before.ModTime) {
		t.Errorf("time %v, before %v", info.ModTime, before.ModTime)
	}
	_, err = file.WriteAt([]byte("C"), 0) // a descriptor that is open may still write
	ok(t, errors.Join(err, file.Sync(), file.Close()))
	file, err = f.Open("a")
	ok(t, err)
	ok(t, errors.Join(file.Sync(), file.Close()))
	want := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	ok(t, f.SetModTime("a", want))
	ok(t, f.Link("a", "link"))
	ok(t, f.Rename("a", "b"))
	holds(t, f, "b", "Content")
	ok(t, errors.Join(f.Remove("b"), f.Remove("link")))
	fails(t, f.SetReadOnly("none"), fs.ErrNotExist)
}

func offsets(t *testing.T, f vfs.FS) {
	file, err := f.Create("a")
	ok(t, err)
	ok(t, file.Allocate(1000))
	info, err := file.Stat()
	ok(t, err)
	if info.Size != 1000 {
		t.Errorf("%d bytes after Allocate", info.Size)
	}
	_, err = file.WriteAt([]byte("xyz"), 997)
	ok(t, err)
	b := make([]byte, 5)
	n, err := file.ReadAt(b, 996)
	if n != 4 || !errors.Is(err, io.EOF) || string(b[:n]) != "\x00xyz" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if at, err := file.Seek(-2, io.SeekEnd); at != 998 || err != nil {
		t.Errorf("seek: %d, %v", at, err)
	}
	ok(t, errors.Join(file.Sync(), file.Close()))
	again, err := f.OpenWrite("a")
	ok(t, err)
	_, err = again.WriteAt([]byte("A"), 0)
	ok(t, errors.Join(err, again.Close()))
	got, err := f.ReadFile("a")
	if err != nil || len(got) != 1000 || got[0] != 'A' || string(got[997:]) != "xyz" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func openAndGone(t *testing.T, f vfs.FS) {
	put(t, f, "a", "old")
	file, err := f.Open("a")
	ok(t, err)
	put(t, f, "b", "new")
	ok(t, f.Rename("b", "a"))
	b, err := io.ReadAll(file)
	ok(t, errors.Join(err, file.Close()))
	if string(b) != "old" {
		t.Errorf("an open file that was replaced reads %q", b)
	}
}

func atomicWriting(t *testing.T, f vfs.FS) {
	all := vfs.SyncOptions{File: true, Dir: true}
	put(t, f, "aside", "a leftover")
	ok(t, vfs.WriteFileAtomic(f, "aside", "a", []byte("one"), all))
	ok(t, vfs.WriteFileAtomic(f, "aside", "a", []byte("two"), all))
	holds(t, f, "a", "two")
	_, err := f.Stat("aside")
	fails(t, err, fs.ErrNotExist)
	fails(t, vfs.WriteFileAtomic(f, "aside", "none/a", nil, all), fs.ErrNotExist)
	_, err = f.Stat("aside")
	fails(t, err, fs.ErrNotExist)
}

func wholeTrees(t *testing.T, f vfs.FS) {
	made, err := vfs.MkdirAll(f, "x/y/z")
	if err != nil || !slices.Equal(made, []string{"x", "x/y", "x/y/z"}) {
		t.Errorf("made %v, %v", made, err)
	}
	if made, err := vfs.MkdirAll(f, "x/y"); err != nil || len(made) != 0 {
		t.Errorf("made %v, %v", made, err)
	}
	put(t, f, "x/y/z/a", "")
	put(t, f, "x/b", "")
	_, err = vfs.MkdirAll(f, "x/b")
	fails(t, err, syscall.ENOTDIR)
	var got []string
	for name, err := range vfs.Walk(f, "x") {
		ok(t, err)
		got = append(got, name)
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"x/b", "x/y/z/a"}) {
		t.Errorf("walk %v", got)
	}
	ok(t, vfs.RemoveAll(f, "x"))
	_, err = f.Stat("x")
	fails(t, err, fs.ErrNotExist)
}

func errorsSayWhat(t *testing.T, f vfs.FS) {
	_, err := f.Open("some/where")
	p, isPath := errors.AsType[*fs.PathError](err)
	if !isPath || p.Path != f.Path("some/where") {
		t.Errorf("error %#v", err)
	}
	if _, err := f.Space(); err != nil && !errors.Is(err, vfs.ErrNotSupported) {
		t.Errorf("space: %v", err)
	}
	if err := f.SyncAll(); err != nil && !errors.Is(err, vfs.ErrNotSupported) {
		t.Errorf("sync all: %v", err)
	}
}

func exchange(t *testing.T, f vfs.FS) {
	ok(t, f.Mkdir("new"))
	put(t, f, "new/x", "new")
	ok(t, f.Mkdir("old"))
	put(t, f, "old/x", "old")
	put(t, f, "old/y", "old")
	if err := f.Exchange("new", "old"); errors.Is(err, vfs.ErrNotSupported) {
		t.Skip("not on this file system")
	} else {
		ok(t, err)
	}
	for name, want := range map[string]string{"old/x": "new", "new/x": "old", "new/y": "old"} {
		if got, err := f.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := f.Stat("old/y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("old/y: %v", err)
	}
	if err := f.Exchange("new", "new"); err != nil {
		t.Errorf("a name with itself: %v", err)
	}
	fails(t, f.Exchange("new", "none"), fs.ErrNotExist)
	fails(t, f.Exchange("none", "new"), fs.ErrNotExist)
	ok(t, f.SyncDir("."))
}

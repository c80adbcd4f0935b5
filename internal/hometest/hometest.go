// Package hometest gives tests the golden homes and Data.fs files of the
// repository's testdata: unpacked copies to work on, and the values that the Python originals read
// from them. Only tests may import it.
//
//	home := hometest.Unpack(t, "killed_plain")
//	want := hometest.Expected(t, "killed_plain")
package hometest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Names returns the golden homes without a defect, in alphabetical order.
func Names(t testing.TB) []string { return names(t, "") }

// CorruptNames returns the golden homes with a defect, as “corrupt/NAME”.
func CorruptNames(t testing.TB) []string { return names(t, "corrupt") }

// OwnNames returns the golden homes that earlier builds of this project made, as “own/NAME”.
func OwnNames(t testing.TB) []string { return names(t, "own") }

func names(t testing.TB, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root(t), "testdata", "homes", dir, "*.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		found[i] = path.Join(dir, strings.TrimSuffix(filepath.Base(f), ".tar.gz"))
	}
	if len(found) == 0 {
		t.Fatal("no golden homes in testdata")
	}
	slices.Sort(found)
	return found
}

// Unpack makes a copy of a golden home, NAME, corrupt/NAME or own/NAME, in a temporary
// directory, with its modes and time stamps, and returns the path of the HOME.
func Unpack(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	Untar(t, dir, Golden(t, "homes/"+name+".tar.gz"))
	return filepath.Join(dir, path.Base(name))
}

// Files returns the regular files of a golden home, NAME or corrupt/NAME, by
// path relative to HOME. It does not touch the disk, so it is much faster than
// Unpack where the content of files is all that is asked for.
func Files(t testing.TB, name string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for r := tar.NewReader(bytes.NewReader(Golden(t, "homes/"+name+".tar.gz"))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		inHome := strings.TrimPrefix(h.Name, path.Base(name)+"/")
		if files[inHome], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// FileStorage makes a copy of a golden Data.fs (undo.fs, before_pack.fs,
// packed.fs, crashed.fs) in a temporary directory and returns its path. The name
// blobs gives a directory with Data.fs and a directory blobs.
func FileStorage(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	if name == "blobs" {
		Untar(t, dir, Golden(t, "filestorage/blobs.tar"))
		return filepath.Join(dir, "blobs")
	}
	copied := filepath.Join(dir, name)
	if err := os.WriteFile(copied, Golden(t, "filestorage/"+name), 0o644); err != nil {
		t.Fatal(err)
	}
	return copied
}

// Medium returns the path of an unpacked copy of medium.fs, 66 MB. That file is
// not part of the repository: it is looked for in the directory filestorage of
// $DIRSTORAGE_FIXTURES and of a directory beside the repository, and if it is
// not there, or the run is a short one, the test is skipped. Its expected contents are in Golden(t,
// "filestorage/medium.…").
func Medium(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("medium.fs has 66 MB")
	}
	fixtures := os.Getenv("DIRSTORAGE_FIXTURES")
	if fixtures == "" {
		fixtures = filepath.Join(root(t), "..", "shared", "fixtures")
	}
	packed, err := os.Open(filepath.Join(fixtures, "filestorage", "medium.fs.gz"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("medium.fs.gz is not in %s; $DIRSTORAGE_FIXTURES can say where it is", fixtures)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	name := filepath.Join(t.TempDir(), "medium.fs")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(packed)
	if err == nil {
		_, err = io.Copy(f, r)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// Golden returns a file of testdata, such as “filestorage/undo.fs.json”. If its
// name ends in .gz, it is unpacked.
func Golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root(t), "testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		return gunzip(t, b)
	}
	return b
}

func gunzip(t testing.TB, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// root returns the directory of go.mod, above the directory of the test.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		above := filepath.Dir(dir)
		if above == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = above
	}
}

// Untar unpacks an archive of directories and regular files below dir, with
// their modes and time stamps.
func Untar(t testing.TB, dir string, archive []byte) {
	t.Helper()
	type stamp struct {
		name string
		h    *tar.Header
	}
	var dirs []stamp
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) {
			t.Fatalf("%q leads out of the directory", h.Name)
		}
		name := filepath.Join(dir, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(name, 0o755)
			dirs = append(dirs, stamp{name, h})
		case tar.TypeReg:
			err = extract(name, h, r)
		default:
			t.Fatalf("%q is neither a directory nor a file", h.Name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Innermost first, after all that is in them.
	for _, d := range slices.Backward(dirs) {
		if err := restamp(d.name, d.h); err != nil {
			t.Fatal(err)
		}
	}
}

func extract(name string, h *tar.Header, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		return err
	}
	return restamp(name, h)
}

// restamp sets mode, regardless of the umask, and time stamps.
func restamp(name string, h *tar.Header) error {
	if err := os.Chmod(name, h.FileInfo().Mode().Perm()); err != nil {
		return err
	}
	return os.Chtimes(name, h.ModTime, h.ModTime)
}

package hometest

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// File describes a file or a directory.
type File struct {
	Mode    fs.FileMode // with the bits of its type
	ModTime time.Time   // UTC
	SHA256  string      // lower-case hexadecimal; empty if it is not a regular file
}

// Dump describes everything below a directory, but not the directory itself, by
// slash-separated path relative to it. Two dumps are equal exactly if names,
// contents, modes and time stamps are.
func Dump(t testing.TB, dir string) map[string]File {
	t.Helper()
	files := make(map[string]File)
	walk(t, dir, func(name, rel string, d fs.DirEntry) error {
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := File{Mode: info.Mode(), ModTime: info.ModTime().UTC()}
		if d.Type().IsRegular() {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			sum := sha256.Sum256(b)
			f.SHA256 = hex.EncodeToString(sum[:])
		}
		files[rel] = f
		return nil
	})
	return files
}

// BlobFile returns the path of the one blob below dir.
func BlobFile(t testing.TB, dir string) string {
	t.Helper()
	var found []string
	walk(t, dir, func(name, _ string, d fs.DirEntry) error {
		if !d.IsDir() && strings.HasSuffix(name, ".blob") {
			found = append(found, name)
		}
		return nil
	})
	if len(found) != 1 {
		t.Fatalf("there are %d blobs in %s, want one", len(found), dir)
	}
	return found[0]
}

// Contents returns the regular files below a directory, by slash-separated path
// relative to it. A directory that does not exist has none.
func Contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		return files
	}
	walk(t, dir, func(name, rel string, d fs.DirEntry) error {
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(name)
		files[rel] = b
		return err
	})
	return files
}

func walk(t testing.TB, dir string, f func(name, rel string, d fs.DirEntry) error) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return f(name, filepath.ToSlash(rel), d)
	})
	if err != nil {
		t.Fatal(err)
	}
}

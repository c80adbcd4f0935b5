package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is one file of an archive: that at path, or text.
type file struct {
	name string // slash-separated, within the archive
	path string
	text []byte
	mode fs.FileMode
}

func (f file) content() ([]byte, error) {
	if f.path == "" {
		return f.text, nil
	}
	return os.ReadFile(f.path)
}

// tree returns the regular files below a directory of root, by their names in root. Sources of Go
// are left out. Modes are 644, whatever the umask of the clone was.
func tree(root, dir string) (files []file, err error) {
	err = filepath.WalkDir(filepath.Join(root, dir), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(p) == ".go" {
			return err
		}
		rel, err := filepath.Rel(root, p)
		files = append(files, file{name: filepath.ToSlash(rel), path: p, mode: 0o644})
		return err
	})
	return files, err
}

// writeArchive writes files into a tar, compressed with gzip, below a directory that is named top.
// Its bytes depend on names, modes and contents and on time alone.
func writeArchive(name, top string, files []file, at time.Time) (err error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	entry := tar.Header{Format: tar.FormatPAX, ModTime: at, Uname: "root", Gname: "root"}
	dirs := make(map[string]bool)
	for _, f := range files {
		for _, dir := range above(path.Join(top, f.name)) {
			if dirs[dir] {
				continue
			}
			dirs[dir] = true
			h := entry
			h.Typeflag, h.Name, h.Mode = tar.TypeDir, dir+"/", 0o755
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
		}
		content, err := f.content()
		if err != nil {
			return err
		}
		h := entry
		h.Typeflag, h.Name, h.Mode, h.Size = tar.TypeReg, path.Join(top, f.name), int64(f.mode), int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// above returns the directories above a name, the outermost first.
func above(name string) (dirs []string) {
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		dirs = append(dirs, d)
	}
	slices.Reverse(dirs)
	return dirs
}

// sum is the SHA-256 of a file, in hexadecimal digits.
func sum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// writeSums writes SHA256SUMS about all other files of a directory, for sha256sum -c.
func writeSums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, e := range entries {
		s, err := sum(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%s  %s\n", s, e.Name())
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(text.String()), 0o644)
}

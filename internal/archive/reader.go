package archive

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// tops are the directories of a HOME that an archive may have something in. In
// the last four it is the directory itself only.
var tops = []string{"config", "A", "B", "journal", "misc", "backups"}

// CheckName returns an error if a name, relative to HOME, is none that an
// archive may have: it would lead elsewhere.
func CheckName(name string) error {
	top, below, deep := strings.Cut(name, "/")
	i := slices.Index(tops, top)
	switch {
	case !fs.ValidPath(name) || strings.ContainsAny(name, "\x00\\"), i < 0, i > 1 && deep, deep && below == "":
		return fmt.Errorf("an entry named %q has no place below HOME", name)
	}
	return nil
}

// Reader reads the entries of an archive one after the other. It is used by
// one goroutine. Close must be called.
type Reader struct {
	in    io.Reader // the tar, uncompressed
	tar   *tar.Reader
	close func()
}

// NewReader reads an archive, from its beginning or from the offset of a frame
// that begins with an entry.
func NewReader(r io.Reader) (*Reader, error) {
	f := newFrameReader(r)
	return &Reader{in: f, tar: tar.NewReader(f), close: f.Close}, nil
}

// NewGzipReader reads an archive of the original's backup tool.
func NewGzipReader(r io.Reader) (*Reader, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, damaged("no gzip: %w", err)
	}
	return &Reader{in: z, tar: tar.NewReader(z), close: func() { z.Close() }}, nil
}

// Close gives memory back.
func (r *Reader) Close() { r.close() }

// Next returns the next entry, whose content [Reader.Read] then gives; io.EOF
// after the last. Sum is zero. Links, devices and names that lead elsewhere are
// errors. Errors about the content match ErrDamaged.
func (r *Reader) Next(ctx context.Context) (*Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h, err := r.tar.Next()
	if errors.Is(err, io.EOF) {
		return nil, err
	}
	if err != nil {
		return nil, damaged("the archive can't be read: %w", err)
	}
	e := &Entry{Name: strings.TrimPrefix(h.Name, "./"), Size: h.Size, ModTime: h.ModTime}
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeDir:
		e.Dir, e.Size, e.Name = true, 0, strings.TrimSuffix(e.Name, "/")
	default:
		return nil, damaged("%q is neither a file nor a directory", h.Name)
	}
	if err := CheckName(e.Name); err != nil {
		return nil, damaged("%w", err)
	}
	return e, nil
}

// Read reads the content of the entry.
func (r *Reader) Read(b []byte) (int, error) {
	n, err := r.tar.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged("the archive can't be read: %w", err)
	}
	return n, err
}

// Drain reads the bytes behind the last entry, so that all of the archive was seen.
func (r *Reader) Drain() error {
	if _, err := io.Copy(io.Discard, r.in); err != nil {
		return damaged("the end of the archive can't be read: %w", err)
	}
	return nil
}

package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// OneOf is oneOf for tests of package dirstorage_test.
func OneOf(whole, race, short int) int { return oneOf(whole, race, short) }

// RoundsOf is the factor of $DIRSTORAGE_ROUNDS.
func RoundsOf(t testing.TB) int { return rounds(t, 1) }

// FormatOf is the format of homes for which a test does not choose one.
func FormatOf(t testing.TB) string { return testFormat(t) }

// OnFS makes a storage work on another file system, in tests of package dirstorage_test.
func OnFS(o Options, f vfs.FS) Options {
	o.fs = f
	return o
}

// CreateOn makes an empty storage on a file system that is empty.
func CreateOn(f vfs.FS, format layout.Format, set map[string]string) error {
	text, err := newSettings(format, CreateOptions{Set: set}.withDefaults())
	if err != nil {
		return err
	}
	c := creator{fs: f, base: "."}
	c.populate(format, text, strings.Repeat("0123456789abcdef", 2))
	return errors.Join(c.err, f.SyncDir("."))
}

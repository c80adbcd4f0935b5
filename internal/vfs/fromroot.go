package vfs

import (
	"path/filepath"
	"strings"
)

// FromRoot returns an absolute path as a name in OS("/").
func FromRoot(abs string) string { return strings.TrimPrefix(filepath.ToSlash(abs), "/") }

//go:build unix && !linux

package vfs

import "os"

func syncFS(*os.File) error { return ErrNotSupported }

func dataSync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, size int64) error { return grow(f, size) }

func exchange(string, string) error { return ErrNotSupported }

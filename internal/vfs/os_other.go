//go:build unix && !linux

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

func syncFS(*os.File) error { return ErrNotSupported }

func dataSync(f *os.File) error { return f.Sync() }

func fdDataSync(fd int) error { return unix.Fsync(fd) }

func startSync(*os.File, int64, int64) {}

func allocate(f *os.File, size int64) error { return grow(f, size) }

func exchange(string, string) error { return ErrNotSupported }

func born(string) int64 { return 0 }

func volume(string) uint64 { return 0 }

func actAs(owner, func() error) error { return ErrNotSupported }

const openToKeep = unix.O_RDONLY | unix.O_NONBLOCK

func withoutJournal(string) bool { return false }

func mounted(string) (yes, known bool) { return false, false }

func mountNumber(string) uint64 { return 0 }

// WithoutJournal reports whether a path is on a file system of the ext family that has no journal, which is
// not known here.
func WithoutJournal(string) bool { return false }

// MountInfo describes the mount that holds a path; it is not known here.
func MountInfo(string) (m Mount, known bool) { return Mount{}, false }

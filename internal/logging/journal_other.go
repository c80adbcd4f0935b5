//go:build !linux

package logging

import "io/fs"

// deviceAndInode is of use on Linux only, where systemd is.
func deviceAndInode(fs.FileInfo) (dev, ino uint64, ok bool) { return 0, 0, false }

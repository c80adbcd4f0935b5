//go:build !linux

package vfs

// FileSystem returns the kind of the file system of a directory, "" if it is not known, and the free
// space that each new inode takes from it: 0 where inodes have a place of their own.
func FileSystem(string) (name string, inodeBytes int64) { return "", 0 }

package vfs

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileSystems are the names of file systems by the numbers that the kernel has for them.
var fileSystems = map[uint32]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	0x2fc12fc1:                 "zfs",
}

// xfsInode is the size of an inode of XFS, unless it was made otherwise.
const xfsInode = 512

// FileSystem returns the kind of the file system of a directory, "" if it is not known, and the free
// space that each new inode takes from it: 0 where inodes have a place of their own.
func FileSystem(dir string) (name string, inodeBytes int64) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return "", 0
	}
	name, known := fileSystems[uint32(st.Type)]
	if !known {
		name = fmt.Sprintf("%#x", uint32(st.Type))
	}
	if name == "xfs" {
		inodeBytes = xfsInode
	}
	return name, inodeBytes
}

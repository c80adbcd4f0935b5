package vfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

func syncFS(f *os.File) error { return withFD(f, unix.Syncfs) }

func dataSync(f *os.File) error { return withFD(f, unix.Fdatasync) }

func fdDataSync(fd int) error { return unix.Fdatasync(fd) }

func startSync(f *os.File, offset, length int64) {
	_ = withFD(f, func(fd int) error { return unix.SyncFileRange(fd, offset, length, unix.SYNC_FILE_RANGE_WRITE) })
}

func allocate(f *os.File, size int64) error {
	if size <= 0 {
		return nil // which fallocate refuses
	}
	err := withFD(f, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return grow(f, size)
	}
	return err
}

func exchange(a, b string) error {
	err := retry(func() error { return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return ErrNotSupported // by this file system, or this kernel
	}
	return err
}

// openToKeep opens a file of any type, only to keep it.
const openToKeep = unix.O_PATH

// withoutJournal reports whether a directory is on a file system of the ext family that
// has no journal. If that cannot be told it has one.
func withoutJournal(dir string) bool {
	var fsys unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &fsys) }); err != nil || uint32(fsys.Type) != unix.EXT4_SUPER_MAGIC {
		return false
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(dir, &st) }); err != nil {
		return false
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		return false
	}
	task, err := os.ReadFile("/sys/fs/ext4/" + path.Base(device) + "/journal_task")
	return err == nil && strings.TrimSpace(string(task)) == "<none>"
}

// WithoutJournal reports whether a path is on a file system of the ext family that has no journal. If that
// cannot be told it has one.
func WithoutJournal(path string) bool { return withoutJournal(path) }

// volume returns a number that differs between a subvolume or data set and its snapshots; 0 where a
// file system has no such snapshots. Elsewhere the number may change with each mount.
func volume(path string) uint64 {
	const btrfs, zfs uint32 = unix.BTRFS_SUPER_MAGIC, 0x2fc12fc1
	var st unix.Statfs_t
	err := retry(func() error { return unix.Statfs(path, &st) })
	if kind := uint32(st.Type); err != nil || kind != btrfs && kind != zfs {
		return 0
	}
	return uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1]))
}

// born returns when the inode of a file was made, in nanoseconds since 1970; 0 if the
// file system does not say.
func born(path string) int64 {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &st); err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return 0
	}
	return st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
}

// mounted reports whether a file system is mounted at a path, by itself or bound there; known is
// false if that cannot be told.
func mounted(path string) (yes, known bool) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// mountNumber is the number of the mount on which a file is; 0 if the kernel does not tell it.
func mountNumber(path string) uint64 {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st) != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return st.Mnt_id
}

// MountInfo describes the mount that holds a path, which exists; known is false if the system does not
// tell it.
func MountInfo(path string) (m Mount, known bool) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Mount{}, false
	}
	return parseMounts(string(text), mountNumber(path), MountOf(path))
}

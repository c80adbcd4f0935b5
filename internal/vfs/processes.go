package vfs

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// OpenedBy returns what a process has open, as the kernel names it: paths, and “socket:[INODE]”. Errors:
// fs.ErrNotExist if there is no such process, or not on this system; fs.ErrPermission for one of another user.
func OpenedBy(pid int) ([]string, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if name, err := os.Readlink(dir + "/" + e.Name()); err == nil { // else it was closed meanwhile
			names = append(names, name)
		}
	}
	return names, nil
}

// Processes returns the ids of all processes that this one can see. Errors: fs.ErrNotExist where the system has
// no /proc.
func Processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	if len(list) == 0 {
		return nil, &fs.PathError{Op: "list", Path: "/proc", Err: fs.ErrNotExist}
	}
	return list, nil
}

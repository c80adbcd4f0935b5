package vfs

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// locksReads is how often the kernel's list of locks is read before a lock that is not in it counts as
// free. The list comes in pieces of a page, and a lock that is given back between two of them makes
// the kernel pass over another one.
const locksReads = 10

// LockHolder returns the process that holds the lock of a file, as the kernel lists it, and without a
// try of the lock, which would be in the way of a process that starts. 0: nobody does, or it cannot
// be seen.
func LockHolder(f FS, name string) int {
	o, ok := f.(*osFS)
	if !ok {
		return 0
	}
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(o.Path(name), &st) }); err != nil {
		return 0
	}
	content, err := f.ReadFile(name)
	if err != nil {
		return 0
	}
	pid := NewLockedError(name, content).PID
	for range locksReads {
		if pid == 0 || unix.Kill(pid, 0) == unix.ESRCH {
			break
		}
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			break
		}
		if isHolder(string(locks), st.Ino, pid) {
			return pid
		}
	}
	return 0
}

// isHolder reports whether the text of /proc/locks says that a process holds the flock of a file, by the
// number of its inode. A process of another PID namespace is not listed, or as 0. Device numbers are not
// compared, since some file systems have others there: the caller asks for the process that has signed
// the lock file.
func isHolder(locks string, inode uint64, pid int) bool {
	for line := range strings.Lines(locks) {
		// 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[3] != "WRITE" || f[4] != strconv.Itoa(pid) {
			continue
		}
		_, number, _ := strings.Cut(f[5], ":")
		_, number, _ = strings.Cut(number, ":")
		if n, err := strconv.ParseUint(number, 10, 64); err == nil && n == inode {
			return true
		}
	}
	return false
}

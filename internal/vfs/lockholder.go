package vfs

import (
	"strconv"
	"strings"
)

// holderIn finds the process in the text of /proc/locks that holds the flock of a file, by the number
// of its inode; 0: none is listed. A process of another PID namespace is not listed, or as 0. Device
// numbers are not compared, since some file systems have others there: the caller compares the
// process with the one that has signed the lock file.
func holderIn(locks string, inode uint64) int {
	for line := range strings.Lines(locks) {
		// 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[3] != "WRITE" {
			continue
		}
		_, number, _ := strings.Cut(f[5], ":")
		_, number, _ = strings.Cut(number, ":")
		if n, err := strconv.ParseUint(number, 10, 64); err != nil || n != inode {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}

//go:build unix

package budget

import "syscall"

// Files returns how many files this process may have open at once.
func Files() int64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fewFiles
	}
	return int64(min(uint64(l.Cur), manyFiles))
}

package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

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
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	pid := holderIn(string(locks), st.Ino)
	if pid != NewLockedError(name, content).PID {
		return 0 // of another device
	}
	return pid
}

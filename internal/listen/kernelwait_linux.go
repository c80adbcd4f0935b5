package listen

import (
	"time"

	"golang.org/x/sys/unix"
)

const canKernelWait = true

// KernelTime is how long a call waits in the kernel, about: the kernel counts by its ticks.
const KernelTime = 5 * time.Millisecond

func setTimes(fd int) bool {
	t := unix.NsecToTimeval(int64(KernelTime))
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &t) == nil &&
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &t) == nil
}

func setWaiting(fd int, on bool) bool { return unix.SetNonblock(fd, !on) == nil }

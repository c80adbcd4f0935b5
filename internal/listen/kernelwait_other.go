//go:build !linux

package listen

import "time"

const canKernelWait = false

// KernelTime is how long a call would wait in the kernel.
const KernelTime time.Duration = 0

func setTimes(int) bool         { return false }
func setWaiting(int, bool) bool { return false }

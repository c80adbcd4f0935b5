package budget

import (
	"math"
	"syscall"
)

// Machine returns the memory of this machine in bytes; 0 = unknown.
func Machine() int64 {
	var i syscall.Sysinfo_t
	if err := syscall.Sysinfo(&i); err != nil {
		return 0
	}
	total, unit := uint64(i.Totalram), uint64(max(i.Unit, 1))
	if total > math.MaxInt64/unit {
		return 0
	}
	return int64(total * unit)
}

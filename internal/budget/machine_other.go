//go:build !linux

package budget

// Machine returns the memory of this machine in bytes; 0 = unknown.
func Machine() int64 { return 0 }

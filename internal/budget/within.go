package budget

import (
	"runtime"
	"runtime/debug"
)

// Within returns n bytes, or one of parts equal parts of the memory limit of the process where
// that is less. Caches, windows and buffers are sized by it.
func Within(n, parts int64) int64 { return min(n, debug.SetMemoryLimit(-1)/parts) }

// Workers returns how many goroutines share some work: one for each processor, or as many
// as take a quarter of the memory limit, if each takes each bytes. At least one.
func Workers(each int64) int {
	return int(max(1, min(int64(runtime.GOMAXPROCS(0)), Within(1<<62, 4)/each)))
}

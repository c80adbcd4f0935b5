package budget

import (
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// Memory is how much a process may use, in bytes, and the source of that figure.
type Memory struct {
	Limit  int64
	Source string // such as “GOMEMLIMIT”, for the log
}

// spare returns how much of a control group stays free for memory that the runtime does not count:
// the program itself, which is 14 MiB when all of it is in use, buffers of sockets, pages that are
// being written, and the kernel's caches of the many files and directories that are made and read.
// It is an eighth, and 24 MiB at least; in groups below 96 MiB it is a quarter or 16 MiB, and half
// of the group at most.
func spare(group int64) int64 {
	return max(group/8, min(group/4, 24<<20), min(group/2, 16<<20))
}

// Find returns the memory for this process: GOMEMLIMIT; else the limit of its control group
// (version 1 or 2) less the spare part; else three quarters of the machine's. read reads a file of
// the system. machine asks the kernel for the bytes of memory, 0 if it does not tell: a unit of systemd with
// ProcSubset=pid sees no /proc/meminfo. Without any of these figures it is 1 GiB.
func Find(getenv func(string) string, read func(name string) ([]byte, error), machine func() int64) Memory {
	if getenv("GOMEMLIMIT") != "" {
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
			return Memory{limit, "GOMEMLIMIT"}
		}
	}
	total := totalMemory(read)
	if total == 0 {
		total = machine()
	}
	if group, ok := groupLimit(read); ok && (total == 0 || group < total) {
		return Memory{group - spare(group), "the control group"}
	}
	if total > 0 {
		return Memory{total / 4 * 3, "the machine"}
	}
	return Memory{1 << 30, "nothing that could be found out"}
}

// Apply makes the garbage collector keep to the limit, as far as it can.
func (m Memory) Apply() { debug.SetMemoryLimit(m.Limit) }

// totalMemory returns the memory of the machine by its file; 0 = unknown.
func totalMemory(read func(string) ([]byte, error)) int64 {
	b, err := read("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err == nil && n < math.MaxInt64>>10 {
			return n << 10
		}
	}
	return 0
}

// groupLimit returns the smallest limit of the control group of this process and of
// those above it.
func groupLimit(read func(string) ([]byte, error)) (limit int64, ok bool) {
	b, err := read("/proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	limit = math.MaxInt64
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[1] == "":
			limit = min(limit, smallest(read, "/sys/fs/cgroup", fields[2], "memory.max", "memory.high"))
		case strings.Contains(","+fields[1]+",", ",memory,"):
			limit = min(limit, smallest(read, "/sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes"))
		}
	}
	return limit, limit < math.MaxInt64
}

// smallest returns the smallest limit from a group up to the root of the mount. In a
// container the path may be that of the host, of which only the root is there.
func smallest(read func(string) ([]byte, error), mount, group string, files ...string) int64 {
	limit := int64(math.MaxInt64)
	for dir := path.Join("/", group); ; dir = path.Dir(dir) {
		for _, file := range files {
			b, err := read(path.Join(mount, dir, file))
			if err != nil {
				continue
			}
			// “max”, and in version 1 a number beyond all memory, is no limit.
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 && n < 1<<60 {
				limit = min(limit, n)
			}
		}
		if dir == "/" {
			return limit
		}
	}
}

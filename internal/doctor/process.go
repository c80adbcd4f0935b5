package doctor

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dirstorage/dirstorage/internal/budget"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// LimitsOf returns the limits of a running process, as far as the files of the system (root is that of
// “/”) tell them; else those that are given.
func LimitsOf(root vfs.FS, pid int, own Limits) Limits {
	dir := fmt.Sprintf("proc/%d", pid)
	user, _, err := vfs.Owner(root, dir)
	if pid == 0 || err != nil {
		return own
	}
	l := own
	l.PID, l.User = pid, user
	if text, err := root.ReadFile(dir + "/limits"); err == nil {
		if files, ok := openFiles(string(text)); ok {
			l.Files = files
		}
	}
	l.Memory = budget.Find(func(string) string { return "" }, func(name string) ([]byte, error) {
		if rest, ok := strings.CutPrefix(name, "/proc/self/"); ok {
			name = dir + "/" + rest
		}
		return root.ReadFile(vfs.FromRoot(name))
	}, budget.Machine)
	return l
}

// openFiles returns the soft limit of open files in a /proc/PID/limits.
func openFiles(text string) (n int64, ok bool) {
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, "Max open files")
		if words := strings.Fields(rest); found && len(words) > 0 {
			n, err := strconv.ParseInt(words[0], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

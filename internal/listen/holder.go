package listen

import (
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// Holder returns the process that listens at an address, so that [Open] fails there. ok is false if it cannot be
// told: on systems without /proc, and for a process of another user.
func Holder(address string) (pid int, ok bool) {
	sockets := listeningAt(address)
	if len(sockets) == 0 {
		return 0, false
	}
	processes, err := vfs.Processes()
	if err != nil {
		return 0, false
	}
	for _, pid := range processes {
		names, err := vfs.OpenedBy(pid)
		if err == nil && slices.ContainsFunc(names, func(name string) bool { return slices.Contains(sockets, name) }) {
			return pid, true
		}
	}
	return 0, false
}

// listeningAt returns the sockets that listen there, as “socket:[INODE]”.
func listeningAt(address string) (sockets []string) {
	if path, ok := unixPath(address); ok {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil
		}
		for fields := range tableOf("/proc/net/unix") {
			// Num RefCount Protocol Flags Type St Inode Path
			if len(fields) > 7 && (fields[7] == path || fields[7] == abs) {
				sockets = append(sockets, "socket:["+fields[6]+"]")
			}
		}
		return sockets
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	port, err := net.LookupPort("tcp", text)
	if err != nil {
		return nil
	}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		for fields := range tableOf(file) {
			// sl local_address rem_address st … inode: the tenth; 0A is LISTEN
			if len(fields) < 10 || fields[3] != "0A" {
				continue
			}
			_, local, _ := strings.Cut(fields[1], ":")
			if n, err := strconv.ParseUint(local, 16, 16); err == nil && int(n) == port {
				sockets = append(sockets, "socket:["+fields[9]+"]")
			}
		}
	}
	return sockets
}

// tableOf yields the fields of each line of a file of the kernel; nothing if there is none.
func tableOf(file string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		b, err := vfs.ReadFile(file)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(b)) {
			if !yield(strings.Fields(line)) {
				return
			}
		}
	}
}

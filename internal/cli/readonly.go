package cli

import (
	"fmt"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// mountAdvice is the advice about an error that says that the file system of a path is mounted
// read-only: how it can be written to, and which commands of a HOME work as it is. Inside of a
// container or a systemd unit it may be their settings, and not the mount of the machine.
func mountAdvice(err error) string {
	path := pathIn(err)
	at := vfs.MountOf(path)
	if path == "" || at == "" {
		return "a file system is mounted read-only there: mount it read-write and run it again"
	}
	text := fmt.Sprintf("the file system at %s is read-only: mount it read-write (mount -o remount,rw %s; the volume of a container without :ro; ReadWritePaths= of a systemd unit) and run it again; if it was read-write before, dmesg names the error of the disk", at, shellWord(at))
	if homeAround(path) != "" {
		text += "; as it is, these work: status, log, history, show, refs, check, export and backup to another place, serve --read-only"
	}
	return text
}

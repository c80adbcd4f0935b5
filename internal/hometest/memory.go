package hometest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

const (
	// memoryDir is a file system in memory, where a machine has one.
	memoryDir = "/dev/shm"
	// memoryRoom is what has to be free in it: several times what the tests of all
	// packages that run at once have ever had there.
	memoryRoom = 1 << 30
)

// M runs the tests of a package as testing.M does. In a short run their temporary files
// are in memory, where there is room and $TMPDIR names no other place: most of the time
// of a short run would be that of the disk.
type M struct{ *testing.M }

// Run returns the exit status.
func (m M) Run() int {
	if !flag.Parsed() {
		flag.Parse()
	}
	if !testing.Short() || os.Getenv("TMPDIR") != "" || !hasRoom(memoryDir, memoryRoom) {
		return m.M.Run()
	}
	dir, err := os.MkdirTemp(memoryDir, "dirstorage")
	if err != nil {
		return m.M.Run()
	}
	defer os.RemoveAll(dir)
	// As that of all, because tests run programs as other users.
	if err := errors.Join(os.Chmod(dir, os.ModeSticky|0o777), os.Setenv("TMPDIR", dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.M.Run()
}

// hasRoom reports whether that many bytes are free in a directory.
func hasRoom(dir string, bytes uint64) bool {
	disk, err := vfs.OS(dir)
	if err != nil {
		return false
	}
	space, err := disk.Space()
	return err == nil && space.FreeBytes >= bytes
}

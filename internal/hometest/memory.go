package hometest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

const (
	// memoryDir is a file system in memory, where a machine has one.
	memoryDir = "/dev/shm"
	// memoryRoom is the room that has to be free in it: several times the most that tests of all
	// packages, run at once, ever took there.
	memoryRoom = 1 << 30
)

// M runs the tests of a package as testing.M does. In a short run their temporary files
// are in memory, where there is room and $TMPDIR names no other place: most of the time
// of a short run would be that of the disk. More of them run side by side, too, unless -parallel
// says how many: those that wait for a time to pass would keep the processors from the others.
type M struct {
	*testing.M
	// Memory has a run with the race detector have its files in memory, too. It is for packages
	// whose tests make so many that the disk takes a third of their processor time, where tests of other
	// packages do the same work on the disk.
	Memory bool
}

// sideBySide is how many tests a short run has side by side for each processor.
const sideBySide = 4

// collectAt is the garbage at which a short run collects it, in percent of the heap in use.
const collectAt = 400

// Run returns the exit status.
func (m M) Run() int {
	if !flag.Parsed() {
		flag.Parse()
	}
	if testing.Short() {
		lessCollection()
		if err := moreSideBySide(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if !m.inMemory(testing.Short(), RaceDetector, os.Getenv("TMPDIR")) || !hasRoom(memoryDir, memoryRoom) {
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

// inMemory reports whether the temporary files of a run belong in memory.
func (m M) inMemory(short, race bool, tmpdir string) bool {
	return tmpdir == "" && (short || race && m.Memory)
}

// lessCollection has short runs, whose heaps are small, collect garbage less often, unless $GOGC
// says how often.
func lessCollection() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

func moreSideBySide() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(sideBySide*runtime.GOMAXPROCS(0)))
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

package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/vfs"
)

// writePidFile makes a file that holds the process id. It replaces only a file
// that holds the id of a process that has ended, this one's, or nothing. remove
// takes it away again, if it still holds this one's.
func writePidFile(path string) (remove func() error, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	dir, name, err := vfs.Split(abs)
	if err != nil {
		return nil, err
	}
	if err := pidFileFree(dir, name); err != nil {
		return nil, hint(fmt.Errorf("pid-file: %w", err), "it was not touched; choose another name for the pid file, or move it away")
	}
	own := fmt.Appendf(nil, "%d\n", os.Getpid())
	aside := fmt.Sprintf(".%s.%d.new", name, os.Getpid())
	if err := vfs.WriteFileAtomic(dir, aside, name, own, vfs.SyncOptions{File: true}); err != nil {
		return nil, fmt.Errorf("pid-file: %w", err)
	}
	return func() error {
		b, err := dir.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(b, own) {
			return nil // somebody else's now
		}
		if err == nil {
			err = dir.Remove(name)
		}
		return err
	}, nil
}

// pidFileMax is the largest size of a file that may be a pid file, in bytes.
const pidFileMax = 32

// pidFileFree returns why a file must not be replaced by a pid file.
func pidFileFree(dir vfs.FS, name string) error {
	info, err := dir.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode.IsRegular() {
		return fmt.Errorf("%s is not an ordinary file", dir.Path(name))
	}
	notOne := fmt.Errorf("%s is not a pid file: it holds something else than the id of a process", dir.Path(name))
	if info.Size > pidFileMax {
		return notOne
	}
	b, err := dir.ReadFile(name)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(b))
	if len(b) == 0 {
		return nil // a crash may have left it
	}
	pid, err := strconv.ParseUint(text, 10, 31)
	if err != nil || pid == 0 {
		return notOne
	}
	if int(pid) == os.Getpid() || !sinceBefore(int(pid), info.ModTime) {
		return nil
	}
	return fmt.Errorf("%s holds the id of a process that is running: %d", dir.Path(name), pid)
}

// clockTick is the unit of the times in /proc on all of Linux.
const clockTick = time.Second / 100

// sinceBefore reports whether a process is running that was there before a moment,
// so that it can have written a file then. One that began later has only got the
// number of an older one. Where that cannot be told it reports true.
func sinceBefore(pid int, then time.Time) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := vfs.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	system, err := vfs.ReadFile("/proc/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(system), "\nbtime ")
	boot, _, _ := strings.Cut(after, "\n")
	seconds, err := strconv.ParseInt(boot, 10, 64)
	if err != nil {
		return true
	}
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const startTime = 19
	if len(fields) <= startTime {
		return true
	}
	ticks, err := strconv.ParseInt(fields[startTime], 10, 64)
	if err != nil {
		return true
	}
	began := time.Unix(seconds, 0).Add(time.Duration(ticks) * clockTick)
	return began.Before(then.Add(2 * time.Second)) // btime is in whole seconds
}

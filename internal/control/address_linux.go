package control

import (
	"fmt"
	"strings"
	"syscall"
)

// throughOpenDir names the socket by way of an open directory.
func throughOpenDir(misc string) (address string, release func(), err error) {
	fd, err := syscall.Open(misc, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open %s: %w", misc, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, strings.TrimPrefix(socketName, "misc/")), func() { syscall.Close(fd) }, nil
}

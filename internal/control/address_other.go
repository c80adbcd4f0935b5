//go:build !linux

package control

import "fmt"

func throughOpenDir(misc string) (address string, release func(), err error) {
	return "", nil, fmt.Errorf("the path of %s is too long for a socket on this system: the limit is %d bytes; use a shorter path, or a symbolic link", misc, maxAddress)
}

package control

import (
	"path/filepath"
	"strings"
)

// maxAddress is the length that sockaddr_un can hold on every system that we build for.
const maxAddress = 100

// shortAddress returns an address for the socket in the directory misc that the
// socket calls accept: they take about a hundred bytes, a HOME may lie deeper.
// release is called when the address is no longer needed.
func shortAddress(misc string) (address string, release func(), err error) {
	address = filepath.Join(misc, strings.TrimPrefix(socketName, "misc/"))
	if len(address) <= maxAddress {
		return address, func() {}, nil
	}
	return throughOpenDir(misc)
}

package logging

import (
	"io/fs"
	"syscall"
)

func deviceAndInode(info fs.FileInfo) (dev, ino uint64, ok bool) {
	if st, found := info.Sys().(*syscall.Stat_t); found {
		return uint64(st.Dev), st.Ino, true // of 32 bits on some
	}
	return 0, 0, false
}

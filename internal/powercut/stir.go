//go:build linux

package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// stir plays other programs and the kernel on the same file system: now and then another program
// syncs a file of its own, and names that nobody synced become durable with it; and data of files
// go to the disk before their names do.
func stir(mount, dir string, rnd *rand.Rand) error {
	f, err := os.OpenFile(mount+"/elsewhere", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	pause := pick(rnd, 2, 10, 40)
	for {
		time.Sleep(time.Duration(rnd.IntN(pause)) * time.Millisecond)
		if rnd.IntN(3) > 0 {
			if _, err := f.Write([]byte("a line\n")); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
			continue
		}
		writeBack(dir, rnd)
	}
}

// writeBack sends the data of some files to the disk, without a flush.
func writeBack(dir string, rnd *rand.Rand) {
	_ = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || rnd.IntN(8) > 0 {
			return nil
		}
		if g, err := os.Open(name); err == nil {
			_ = unix.SyncFileRange(int(g.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
			g.Close()
		}
		return nil
	})
}

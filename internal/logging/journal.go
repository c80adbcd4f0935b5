package logging

import (
	"fmt"
	"io/fs"
)

// ToJournal reports whether writes to a file, os.Stderr say, go to journald. JOURNAL_STREAM, read
// by getenv, names the device and inode of the stream that systemd made; a child whose output was
// sent elsewhere inherits the variable too, so that alone says nothing.
func ToJournal(file interface{ Stat() (fs.FileInfo, error) }, getenv func(string) string) bool {
	stream := getenv("JOURNAL_STREAM")
	if stream == "" {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	dev, ino, ok := deviceAndInode(info)
	return ok && stream == fmt.Sprintf("%d:%d", dev, ino)
}

package vfs

import "fmt"

// Identity distinguishes a file from every copy of it, and from a file that was written over or
// made anew in its place.
type Identity struct {
	Ino uint64 `json:"ino"`
	// Changed is the time of the last change of the inode, in nanoseconds since 1970.
	// Nobody can set it: a copy that has all attributes of a file has another one.
	// Writing, linking, renaming and changes of the owner or the mode count, reading
	// does not. 0 = the file system does not say.
	Changed int64 `json:"changed,omitempty"`
	// Born is when the inode was made; it never changes. 0 = unknown.
	Born int64 `json:"born,omitempty"`
	// Volume tells the snapshots of a file system apart that keep inodes and times: those
	// of btrfs and ZFS. 0 on others.
	Volume uint64 `json:"volume,omitempty"`
}

func (i Identity) String() string { return fmt.Sprintf("inode %d", i.Ino) }

// identifier is an optional interface of an FS that knows more of its files than [Info].
type identifier interface {
	identify(name string) (Identity, error)
}

// Identify returns the identity of a file or directory. A symbolic link is not followed.
func Identify(f FS, name string) (Identity, error) {
	if i, ok := f.(identifier); ok {
		return i.identify(name)
	}
	if w, ok := f.(interface{ Inner() FS }); ok { // that of a test
		return Identify(w.Inner(), name)
	}
	info, err := f.Stat(name)
	return Identity{Ino: info.Ino}, err
}

package vfs

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// actAs makes a system call on files as another user, and with that user's rights only, so that new
// files belong to that user from the beginning. ErrNotSupported if root may not do that here. It
// concerns this thread alone.
func actAs(o owner, call func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own := owner{os.Geteuid(), os.Getegid()}
	defer setFSOwner(own)
	if !setFSOwner(o) {
		return ErrNotSupported
	}
	return call()
}

// setFSOwner reports whether it worked; going back to the effective user always does.
func setFSOwner(o owner) bool {
	// The group first: the right to change it goes with the user. A call with -1 changes nothing
	// and returns the id in force.
	if o.uid == os.Geteuid() {
		_, _ = unix.SetfsuidRetUid(o.uid)
		_, _ = unix.SetfsgidRetGid(o.gid)
	} else {
		_, _ = unix.SetfsgidRetGid(o.gid)
		_, _ = unix.SetfsuidRetUid(o.uid)
	}
	uid, _ := unix.SetfsuidRetUid(-1)
	gid, _ := unix.SetfsgidRetGid(-1)
	return uid == o.uid && gid == o.gid
}

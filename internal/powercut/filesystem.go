//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// filesystem is one way to make and mount a file system.
type filesystem struct {
	name    string
	mkfs    []string // the device is added
	kind    string
	options string
	fsck    []string // before a mount after a cut, the device is added; its status does not count
	unit    int64    // bytes that such a disk writes whole or not at all
}

// filesystems lists the file systems that the command line can name. Where a file system
// does not survive blocks that were written in part, as documented by it, the disk
// writes blocks of 4,096 bytes whole.
func filesystems() []filesystem {
	return []filesystem{
		{name: "ext4", mkfs: []string{"mkfs.ext4", "-q", "-F", "-b", "4096"}, kind: "ext4", options: "commit=1", unit: 512},
		{name: "ext4-noalloc", mkfs: []string{"mkfs.ext4", "-q", "-F", "-b", "4096"}, kind: "ext4", options: "commit=1,noauto_da_alloc", unit: 512},
		{
			name: "ext4-nojournal", mkfs: []string{"mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^has_journal"}, kind: "ext4",
			options: "rw", fsck: []string{"e2fsck", "-fy"}, unit: 4096,
		},
		{name: "xfs", mkfs: []string{"mkfs.xfs", "-q", "-f"}, kind: "xfs", options: "rw", unit: 512},
		{name: "btrfs", mkfs: []string{"mkfs.btrfs", "-q", "-f"}, kind: "btrfs", options: "commit=1", unit: 4096},
	}
}

// device is a disk behind a loop device.
type device struct {
	*disk
	fs    filesystem
	fuse  *fuse
	file  string
	mount string
	loop  string // empty: not attached
	// repairs is the output of the last repairs.
	repairs []string
}

// newDevice serves a disk as DIR/disk; DIR/mnt is where it is mounted.
func newDevice(d *disk, fs filesystem, dir string) (*device, error) {
	v := &device{disk: d, fs: fs, file: dir + "/disk", mount: dir + "/mnt"}
	err := errors.Join(os.MkdirAll(v.mount, 0o755), os.WriteFile(v.file, nil, 0o600))
	if err != nil {
		return nil, err
	}
	v.fuse, err = mountDisk(d, v.file)
	return v, err
}

func (v *device) Close() error { return errors.Join(v.Unmount(), v.fuse.Close()) }

func run(command ...string) (string, error) {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, text)
	}
	return text, err
}

func (v *device) attach() (err error) {
	v.loop, err = run("losetup", "--show", "-f", "--direct-io=on", "--sector-size", fmt.Sprint(v.unit), v.file)
	return err
}

func (v *device) detach() error {
	if v.loop == "" {
		return nil
	}
	_, err := run("losetup", "-d", v.loop)
	v.loop = ""
	return err
}

// Format makes the file system.
func (v *device) Format() error {
	if err := v.attach(); err != nil {
		return err
	}
	_, err := run(append(v.fs.mkfs, v.loop)...)
	return errors.Join(err, v.detach())
}

// Mount mounts the file system, after a cut with the repair that it needs.
func (v *device) Mount(afterCut bool) error {
	if err := v.attach(); err != nil {
		return err
	}
	if afterCut && v.fs.fsck != nil {
		out, err := run(append(v.fs.fsck, v.loop)...)
		v.repairs = append(v.repairs, out)
		if err != nil && !strings.Contains(err.Error(), "exit status 1") {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err := unix.Mount(v.loop, v.mount, v.fs.kind, unix.MS_NOATIME, strings.TrimPrefix(v.fs.options, "rw")); err != nil {
		return errors.Join(fmt.Errorf("mount of %s: %w", v.fs.name, err), v.detach())
	}
	return nil
}

// Unmount unmounts and detaches. Nothing happens if it is not mounted.
func (v *device) Unmount() error {
	if v.loop == "" {
		return nil
	}
	err := unix.Unmount(v.mount, 0)
	for range 100 { // a child that was killed may not have let go
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(20 * time.Millisecond)
		err = unix.Unmount(v.mount, 0)
	}
	if err != nil {
		err = fmt.Errorf("unmount %s: %w", v.mount, err)
	}
	return errors.Join(err, v.detach())
}

//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The part of the FUSE protocol (linux/fuse.h, version 7.31) that a file system
// with one file, its root, needs.
const (
	fuseForget      = 2
	fuseGetattr     = 3
	fuseSetattr     = 4
	fuseOpen        = 14
	fuseRead        = 15
	fuseWrite       = 16
	fuseStatfs      = 17
	fuseRelease     = 18
	fuseFsync       = 20
	fuseFlush       = 25
	fuseInit        = 26
	fuseInterrupt   = 36
	fuseDestroy     = 38
	fuseBatchForget = 42

	fuseMaxWrite = 1 << 20
	directIO     = 1 // FOPEN_DIRECT_IO: the kernel keeps no pages of the file
	bigWrites    = 1 << 5
	asyncDIO     = 1 << 15
	maxPages     = 1 << 22
)

type fuseIn struct {
	Len, Opcode            uint32
	Unique, Node           uint64
	UID, GID, PID, Padding uint32
}

type fuseAttr struct {
	Ino, Size, Blocks, Atime, Mtime, Ctime                                   uint64
	AtimeNS, MtimeNS, CtimeNS, Mode, Nlink, UID, GID, Rdev, BlockSize, Flags uint32
}

// fuseIO begins a read, a write and a fsync.
type fuseIO struct {
	Handle, Offset    uint64
	Size, Flags       uint32
	LockOwner         uint64
	OpenFlags, Unused uint32
}

// fuse is a mount of a disk.
type fuse struct {
	dev  *os.File
	disk *disk
	name string
	done chan error
}

// mountDisk makes the disk the content of the file name, which must exist.
func mountDisk(d *disk, name string) (*fuse, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=0,group_id=0,allow_other", fd, unix.S_IFREG|0o600)
	if err := unix.Mount("powercut", name, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return nil, errors.Join(fmt.Errorf("mount of FUSE at %s: %w", name, err), unix.Close(fd))
	}
	f := &fuse{dev: os.NewFile(uintptr(fd), "/dev/fuse"), disk: d, name: name, done: make(chan error, 1)}
	go func() { f.done <- f.serve() }()
	return f, nil
}

// Close unmounts the disk.
func (f *fuse) Close() error {
	if err := unix.Unmount(f.name, 0); err != nil {
		return errors.Join(err, unix.Unmount(f.name, unix.MNT_DETACH), f.dev.Close())
	}
	return errors.Join(<-f.done, f.dev.Close()) // which serve uses
}

// serve answers requests one after the other, so a flush covers every write
// that was answered before it. It ends when the disk is unmounted.
func (f *fuse) serve() error {
	buf := make([]byte, fuseMaxWrite+4096)
	for {
		n, err := unix.Read(int(f.dev.Fd()), buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENODEV):
			return nil // unmounted
		case err != nil:
			return err
		}
		var in fuseIn
		if _, err := binary.Decode(buf[:n], binary.LittleEndian, &in); err != nil {
			return err
		}
		body := buf[unsafe.Sizeof(in):n]
		var answer any
		switch in.Opcode {
		case fuseForget, fuseBatchForget, fuseInterrupt:
			continue
		case fuseDestroy:
			answer = []byte{}
		default:
			answer = f.answer(in.Opcode, body)
		}
		if err := f.reply(in.Unique, answer); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}

// answer returns a struct or bytes, or a unix.Errno.
func (f *fuse) answer(op uint32, body []byte) any {
	var io fuseIO
	if op == fuseRead || op == fuseWrite {
		n, err := binary.Decode(body, binary.LittleEndian, &io)
		if err != nil {
			return unix.EIO
		}
		body = body[n:]
	}
	switch op {
	case fuseInit:
		return struct {
			Major, Minor, ReadAhead, Flags uint32
			Background, Congestion         uint16
			MaxWrite, TimeGran             uint32
			MaxPages, MapAlignment         uint16
			Unused                         [8]uint32
		}{Major: 7, Minor: 31, Flags: bigWrites | asyncDIO | maxPages, Background: 64, Congestion: 48, MaxWrite: fuseMaxWrite, TimeGran: 1, MaxPages: fuseMaxWrite / 4096}
	case fuseGetattr, fuseSetattr:
		size := uint64(f.disk.size())
		return struct {
			Valid   uint64
			ValidNS uint64
			Attr    fuseAttr
		}{Valid: 3600, Attr: fuseAttr{Ino: 1, Size: size, Blocks: size / 512, Mode: unix.S_IFREG | 0o600, Nlink: 1, BlockSize: 4096}}
	case fuseOpen:
		return struct {
			Handle        uint64
			Flags, Unused uint32
		}{Flags: directIO}
	case fuseRead:
		p := make([]byte, io.Size)
		n, _ := f.disk.ReadAt(p, int64(io.Offset))
		return p[:n]
	case fuseWrite:
		n, err := f.disk.WriteAt(body[:min(int(io.Size), len(body))], int64(io.Offset))
		if err != nil {
			return unix.EIO
		}
		return struct{ Size, Unused uint32 }{Size: uint32(n)}
	case fuseFsync:
		f.disk.Flush()
		return []byte{}
	case fuseStatfs:
		return struct {
			Blocks, Free, Avail, Files, FreeFiles    uint64
			BlockSize, NameLen, FragmentSize, Unused uint32
			Spare                                    [6]uint32
		}{BlockSize: 4096, NameLen: 255, FragmentSize: 4096}
	case fuseRelease, fuseFlush:
		return []byte{}
	}
	return unix.ENOSYS
}

// reply writes one answer.
func (f *fuse) reply(unique uint64, answer any) error {
	var body bytes.Buffer
	code := int32(0)
	switch a := answer.(type) {
	case unix.Errno:
		code = -int32(a)
	case []byte:
		body.Write(a)
	default:
		if err := binary.Write(&body, binary.LittleEndian, a); err != nil {
			return err
		}
	}
	out := binary.LittleEndian.AppendUint32(nil, uint32(16+body.Len()))
	out = binary.LittleEndian.AppendUint32(out, uint32(code))
	out = binary.LittleEndian.AppendUint64(out, unique)
	_, err := unix.Write(int(f.dev.Fd()), append(out, body.Bytes()...))
	return err
}
